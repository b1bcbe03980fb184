"""Golden values of JEI-DNN: python fixture.py     (pip install torch safetensors)

Written from the equations in PyTorch, in float64 on float32 data; rows leave by the quotients of the paper.
Gates are chosen so that of six rows at least one leaves at each exit, and none by less than 0.01 around the threshold.
"""
import pathlib

import torch
import torch.nn.functional as nnf
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
D, HEADS, HK, F, G, C, PATCH = 16, 2, 8, 32, 3, 5, 4
CLEAR = 0.01


def vit(w, x, at):
    """One block; `at` gives its weights from the file."""
    def norm(x, name):
        return nnf.layer_norm(x, (D,), at(f"{name}"), at(f"{name}b"), 1e-5)

    n = norm(x, "n1")
    y = torch.zeros_like(x)
    for head in range(HEADS):
        q, k, v = (n @ at(name)[:, head] for name in ("wq", "wk", "wv"))
        y = y + (q @ k.transpose(1, 2) * HK**-0.5).softmax(-1) @ v @ at("wo")[head]
    x = x + y + at("bo")
    return x + nnf.gelu(norm(x, "n2") @ at("up") + at("bup")) @ at("down") + at("bdown")


def scores(w, x):
    """Of all exits, [G, B, C], and of the backbone's head, [B, C]."""
    def token(x):
        return nnf.layer_norm(x, (D,), w["norm"], w["norm_b"], 1e-5)[:, 0]

    s = []
    for exit in range(G):
        x = vit(w, x, lambda name: w[f"blocks.{name}"][exit])
        s.append(token(x) @ w["exits.w"][exit] + w["exits.b"][exit])
    x = vit(w, x, lambda name: w[f"last_block.{name}"])
    return torch.stack(s), token(x) @ w["backbone.w"] + w["backbone.b"]


def tokens(w, image):
    x = nnf.conv2d(image, w["patch"], w["patch_b"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([w["first"].expand(len(x), 1, D), x], 1)
    place = torch.tensor([[p / 10000 ** (2 * (j // 2) / D) for j in range(D)] for p in range(x.shape[1])], dtype=x.dtype)
    place[:, 0::2], place[:, 1::2] = place[:, 0::2].sin(), place[:, 1::2].cos()
    return x + place


def entropy(p):
    return -torch.xlogy(p, p).sum(-1)


def logits(w, s):
    """Of the gates, [G, B]."""
    p = s.softmax(-1)
    top = p.topk(2, -1).values
    squared = p**2 / (p**2).sum(-1, keepdim=True)
    u = torch.stack([top[..., 0], entropy(p), top[..., 0] - top[..., 1], entropy(squared)], -1)
    return torch.einsum("gbu,gu->gb", u, w["gates.w"]) + w["gates.b"][:, None]


def leave(z):
    """Exit probabilities, conditional ones (0 for 0 / 0), and where each row leaves."""
    g = torch.sigmoid(z)
    p, a = torch.zeros_like(g), torch.zeros_like(g)
    exits, clear = [], True
    for row in range(g.shape[1]):
        left, exit = 1.0, G
        for layer in range(G):
            p[layer, row] = max(0.0, min(g[layer, row], 1 - g[:layer, row].sum()))
            if left > 1e-12:
                a[layer, row] = (p[layer, row] / left).clamp(0, 1)
            left *= 1 - float(a[layer, row])
            if exit == G:
                clear &= abs(float(a[layer, row]) - 0.5) > CLEAR
                if a[layer, row] >= 0.5:
                    exit = layer
        exits.append(exit)
    return p, a, torch.tensor(exits, dtype=torch.int32), clear


def losses(z, p, s, final, label, cost, lam, positive):
    ce = torch.stack([nnf.cross_entropy(x, label, reduction="none") for x in [*s, final]])  # [G + 1, B]
    warm_up = ce[G].mean() + sum((G + 2 - layer) * ce[layer - 1].mean() for layer in range(1, G + 1))
    best = (ce + lam * cost[:, None]).argmin(0)
    target = nnf.one_hot(best, G + 1).cumsum(-1)[:, :G].T.double()
    weight = torch.where(target == 1, positive[:, None], 1.0)
    gates = (weight * nnf.binary_cross_entropy_with_logits(z, target, reduction="none")).mean()
    ce = ce[:G]
    classifiers = (p * ce).sum(0).mean()
    boosted = (p * ce * (ce.sum(0) / (p * ce).sum(0))).mean()
    return {"warm_up": warm_up, "gates": gates, "classifiers": classifiers, "boosted": boosted}


# Weights and golden values.


def weights():
    def vit_shapes(*more):
        shapes = {name: (D,) for name in ("n1", "n1b", "n2", "n2b", "bo", "bdown")}
        shapes |= {name: (D, HEADS, HK) for name in ("wq", "wk", "wv")}
        shapes |= {"wo": (HEADS, HK, D), "up": (D, F), "bup": (F,), "down": (F, D)}
        return {name: (*more, *shape) for name, shape in shapes.items()}

    shapes = {f"blocks.{name}": shape for name, shape in vit_shapes(G).items()}
    shapes |= {f"last_block.{name}": shape for name, shape in vit_shapes().items()}
    shapes |= {"exits.w": (G, D, C), "exits.b": (G, C), "backbone.w": (D, C), "backbone.b": (C,)}
    shapes |= {"norm": (D,), "norm_b": (D,), "gates.w": (G, 4), "gates.b": (G,)}
    w = {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    for name in w:
        if name.split(".")[-1] in ("n1", "n2", "norm"):
            w[name] += 1
    w["gates.w"] *= 6
    return w


def run(w, h):
    s, final = scores(w, h.double())
    z = logits(w, s)
    return s, final, z, *leave(z)


def main():
    for seed in range(4042, 10000):  # 4042 is the first that will do; from 0 the search takes minutes
        torch.manual_seed(seed)
        stored = weights()
        w = {name: value.double() for name, value in stored.items()}
        inputs = {"b6": torch.randn(6, 5, D), "b1": torch.randn(1, 5, D), "b33": torch.randn(33, 9, D)}
        results = {name: run(w, h) for name, h in inputs.items()}
        if all(r[-1] for r in results.values()) and set(results["b6"][5].tolist()) == set(range(G + 1)):
            break
    golden = {}
    for name, h in inputs.items():
        s, final, z, p, a, exits, _ = results[name]
        rows = torch.arange(len(h))
        label = torch.randint(C, (len(h),))
        cost, lam, positive = torch.tensor([0.3, 0.55, 0.8, 1.0]), torch.tensor(0.7), torch.tensor([1.0, 2.5, 5.0])
        golden |= {
            f"{name}.h": h,
            f"{name}.score": torch.cat([s, final[None]])[exits.long(), rows],
            f"{name}.exit": exits,
            f"{name}.label": label.int(),
            f"{name}.lambda": lam,
            f"{name}.cost": cost,
            f"{name}.positive": positive,
            f"{name}.all": s,
            f"{name}.final": final,
            f"{name}.p": p,
            f"{name}.conditional": a,
        }
        values = losses(z, p, s, final, label, cost.double(), lam.double(), positive.double())
        golden |= {f"{name}.{loss}": value for loss, value in values.items()}
    # Scores alone: of two classes, and with a softmax that is a one-hot, a tie, and all the same.
    for name, s in {
        "two": 2 * torch.randn(G, 7, 2),
        "edge": torch.tensor([[300.0, 0, 0, -300, 1], [2, 2, 1, 0, -1], [0, 0, 0, 0, 0]]).repeat(G, 1, 1),
    }.items():
        p, a, exits, clear = leave(logits(w, s.double()))
        assert clear
        golden |= {f"{name}.s": s, f"{name}.p": p, f"{name}.conditional": a, f"{name}.exit": exits}
    stored |= {"patch": 0.2 * torch.randn(D, 3, PATCH, PATCH), "patch_b": 0.3 * torch.randn(D), "first": torch.randn(D)}
    w = {name: value.double() for name, value in stored.items()}
    image = torch.rand(2, 3, 2 * PATCH, 3 * PATCH)
    golden |= {"image.image": image, "image.h": tokens(w, image.double())}
    golden = {name: (v if v.dtype == torch.int32 else v.float()).contiguous().clone() for name, v in golden.items()}
    print("seed", seed, "exits", golden["b6.exit"].tolist(), golden["b33.exit"].bincount().tolist())
    save_file(stored, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 256, "HEADS": 4, "HK": 64, "F": 512, "C": 100}


def medium():
    """Sixteen images of 197 tokens; rows that leave are taken out."""
    torch.manual_seed(7)

    def network(w, x):
        h, rows = x["h"], torch.arange(len(x["h"]))
        score = torch.zeros(len(h), C, dtype=h.dtype)
        exits, spent = torch.full((len(h),), G, dtype=torch.int32), torch.zeros(len(h), dtype=h.dtype)
        for layer in range(G + 1):
            own = "last_block" if layer == G else "blocks"
            h = vit(w, h, lambda name: w[f"{own}.{name}"] if layer == G else w[f"{own}.{name}"][layer])
            z = nnf.layer_norm(h, (D,), w["norm"], w["norm_b"], 1e-5)[:, 0]
            if layer == G:
                score[rows] = z @ w["backbone.w"] + w["backbone.b"]
                break
            s = z @ w["exits.w"][layer] + w["exits.b"][layer]
            p, square = s.softmax(-1), (2 * s).softmax(-1)
            top = p.topk(2, -1).values
            u = torch.stack([top[:, 0], entropy(p), top[:, 0] - top[:, 1], entropy(square)], -1)
            g = torch.sigmoid(u @ w["gates.w"][layer] + w["gates.b"][layer])
            leaves = g >= 0.5 * (1 - spent)
            score[rows[leaves]], exits[rows[leaves]] = s[leaves], layer
            h, rows, spent = h[~leaves], rows[~leaves], (spent + g)[~leaves]
        return {"score": score, "exit": exits}

    w = {name: value * (0.2 if value.dim() > 1 and not name.startswith("gates") else 1) for name, value in weights().items()}
    w |= {"patch": torch.zeros(D, 3, PATCH, PATCH), "patch_b": torch.zeros(D), "first": torch.zeros(D)}
    return {
        "entry": "infer", "weights": w, "inputs": {"h": torch.randn(16, 197, D)}, "network": network,
        "axes": {"d": D, "head": HEADS, "hk": HK, "f": F, "class": C},
    }


if __name__ == "__main__":
    main()
