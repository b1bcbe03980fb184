"""Golden values of adaptive computation modules: python fixture.py     (pip install torch numpy safetensors)

The equations of README.md in PyTorch, in float64 on float32 weights and inputs; a module runs token by token, learner
by learner.
"""
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
D, N, P, LOW, R, HEADS, MODULES = 8, 4, 3, 2, 4, 2, 5
CLEAR = 1e-3  # between a choice and the next best: rounding must not change it


# ---- the network

def sub(w, name):
    return {key[len(name) + 1:]: value for key, value in w.items() if key.startswith(name + ".")}


def gate(w, x):
    for i in "123":
        x = x @ w["w" + i] + w["b" + i]
    return x


def learner(w, n, x, act=F.gelu):
    return act(x @ w["w1"][n] + w["b1"][n]) @ w["w2"][n]


def prefix(w, x, choice, act=F.gelu):
    y = torch.zeros_like(x)
    for at in torch.cartesian_prod(*(torch.arange(n) for n in choice.shape)).tolist():
        for n in range(choice[tuple(at)]):
            y[tuple(at)] += learner(w, n, x[tuple(at)], act)
    return y


def every(w, x):
    h = [torch.zeros_like(x)]
    for n in range(N):
        h.append(h[-1] + learner(w, n, x))
    return torch.stack(h, -2)


def acm(w, x, act=F.gelu, min_choice=0):
    choice = clear_argmax(gate(sub(w, "gate"), x)) + min_choice
    return prefix(w, x, choice, act), choice


def sampled(w, x, noise):
    soft = torch.softmax((gate(sub(w, "choose"), x) - torch.log(noise)) / 0.8, -1)
    share = F.one_hot(clear_argmax(soft), N + 1).double()
    return torch.einsum("btg,btgd->btd", share, every(w, x)), share, soft


def distil(w, x, teacher):
    h = every(w, x)
    distance = torch.mean((h - teacher[:, :, None]) ** 2)
    e = torch.linalg.norm(h - teacher[:, :, None], dim=-1)
    ratio = e[..., :-1] / e[..., 1:]
    assert (ratio - 1.2).abs().min() > CLEAR
    label = (ratio < 1.2).int().argmax(-1) + 1
    label[label == 1] = N  # no ratio is below 1.2, or the first one is
    z = gate(sub(w, "choose"), x)
    return distance, label, F.cross_entropy(z.flatten(0, 1), label.flatten())


def losses(share, cost, target):
    level = torch.arange(N + 1).double()
    budget = sum(cost[m] * (share[m] * level).sum(-1).mean() for m in range(MODULES)) / (N * cost.sum()) - target
    histogram = share.sum(2) / share.sum((2, 3))[..., None]
    entropy = -(histogram * torch.log(histogram + 1e-20)).sum(-1)
    a = [(share[:, b] * level).mean() for b in range(share.shape[1])]
    diversity = sum(abs(x - y) for x in a for y in a) / len(a) ** 2
    return abs(budget), -entropy.mean() / math.log(N + 1), -2 * diversity


def layer(w, x):
    def heads(y):
        return y.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def projection(name, y):
        y, choice = acm(sub(w, name), y, act=lambda h: h, min_choice=1)
        choices.append(choice)
        return y

    choices = []
    y = F.layer_norm(x, (D,), w["scale1"], w["shift1"])
    y = F.scaled_dot_product_attention(*(heads(projection(name, y)) for name in "qkv"))
    x = x + projection("o", y.transpose(1, 2).flatten(2))
    y, choice = acm(sub(w, "ffn"), F.layer_norm(x, (D,), w["scale2"], w["shift2"]))
    return x + y, torch.stack([*choices, choice])


# Weights and golden values.

def clear_argmax(z):
    best = z.topk(2, -1).values
    assert (best[..., 0] - best[..., 1]).min() > CLEAR
    return z.argmax(-1)


def normal(fan_in, *shape):
    return torch.randn(shape) * fan_in**-0.5


def gate_weights(name, choices):
    return {
        f"{name}.w1": normal(D, D, R), f"{name}.w2": normal(R, R, R), f"{name}.w3": normal(R, R, choices),
        f"{name}.b1": normal(4, R), f"{name}.b2": normal(4, R), f"{name}.b3": normal(4, choices),
    }


def learner_weights(name, width):
    return {
        f"{name}w1": normal(D, N, D, width), f"{name}b1": normal(4, N, width), f"{name}w2": normal(width, N, width, D),
    }


def make_weights():
    w = learner_weights("", P) | gate_weights("choose", N + 1)
    for name in "qkvo":
        w |= learner_weights(f"{name}.", LOW) | gate_weights(f"{name}.gate", N)
    w |= learner_weights("ffn.", P) | gate_weights("ffn.gate", N + 1)
    w |= {f"{name}{i}": normal(25, D) + (name == "scale") for name in ("scale", "shift") for i in "12"}
    return w


def main():
    torch.manual_seed(7)
    weights = make_weights()
    save_file(weights, HERE / "weights.safetensors")
    w = {name: value.double() for name, value in weights.items()}
    golden = {}

    def keep(run, **values):
        for name, value in values.items():
            golden[f"{run}.{name}"] = (value.float() if value.is_floating_point() else value.int()).clone().contiguous()

    for b, t in ((1, 1), (2, 5), (3, 7)):
        x = torch.randn(b, t, D)
        y, choice = acm(w | {f"gate.{name}": value for name, value in sub(w, "choose").items()}, x.double())
        by_sum = torch.einsum("btg,btgd->btd", F.one_hot(choice, N + 1).double(), every(w, x.double()))
        assert (y - by_sum).abs().max() < 1e-12
        keep(f"gated.b{b}t{t}", x=x, y=y, choice=choice)
        keep(f"every.b{b}t{t}", x=x, h=every(w, x.double()))
        y, choice = layer(w, x.double())
        keep(f"layer.b{b}t{t}", x=x, y=y, choice=choice)
    x = torch.randn(2, 5, D)
    shape = (2, 5)
    choices = {"none": torch.full(shape, 0), "all": torch.full(shape, N), "mixed": torch.randint(0, N + 1, shape)}
    for run, choice in choices.items():
        keep(f"forced.{run}", x=x, choice=choice, y=prefix(w, x.double(), choice))
    noise = torch.distributions.Exponential(1.0).sample((2, 5, N + 1))
    y, share, soft = sampled(w, x.double(), noise.double())
    keep("sampled", x=x, noise=noise, y=y, share=share, soft=soft)
    teacher = prefix(w, x.double(), torch.randint(0, N + 1, (2, 5))).float() + 0.1 * torch.randn(2, 5, D)
    distance, label, gate_loss = distil(w, x.double(), teacher.double())
    keep("distil", x=x, teacher=teacher, distance=distance, label=label, gate_loss=gate_loss)
    cost = torch.tensor([100.0, 100.0, 100.0, 100.0, 450.0])
    for b in (1, 3):
        share = F.one_hot(torch.randint(0, N + 1, (MODULES, b, 5)), N + 1)
        for target in (0.25, 0.75):
            target = torch.tensor(target)
            budget, entropy, diversity = losses(share.double(), cost.double(), target.double())
            keep(f"losses.b{b}.{target:.2f}", share=share.float(), cost=cost, target=target,
                 budget=budget, entropy=entropy, diversity=diversity)
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 256, "P": 256, "LOW": 32, "R": 16, "HEADS": 4}


def medium():
    """A layer on 197 tokens. Learners run for all tokens that chose them, one after the other."""
    torch.manual_seed(34)
    w = make_weights()

    def network(w, x):
        def by_learner(w, x, choice, act=F.gelu):
            y = torch.zeros_like(x)
            for n in range(N):
                rows = choice > n
                y[rows] += learner(w, n, x[rows], act)
            return y

        globals().update(prefix=by_learner, clear_argmax=lambda z: z.argmax(-1))
        y, choice = layer(w, x["x"])
        return {"y": y}

    return {
        "entry": "layer", "weights": w, "inputs": {"x": torch.randn(1, 197, D)}, "network": network,
        "axes": {"d": D, "p": P, "low": LOW, "r": R, "head": HEADS},
    }


if __name__ == "__main__":
    main()
