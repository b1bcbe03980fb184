"""Golden values of AdvMoE: python fixture.py     (pip install torch numpy safetensors)

PyTorch's convolutions in float64 on float32 weights, image by image, each with the filters of its expert. Writes
this folder and ../08-advmoe-variants (three experts), and ../08-advmoe-two (two).
"""
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
CLASSES, SIDE = 4, 8
CLEAR = 1e-3  # between the two best scores: rounding must not change the choice


class Net:
    """Layers by name; each convolution of the backbone's blocks has filters for each expert."""

    def __init__(self, w):
        self.w, self.gap = w, 1.0  # the smallest distance between two best scores of a layer

    def bn(self, name, x):
        g, b, m, v = (self.w[f"{name}.{part}"][:, None, None] for part in ("scale", "shift", "mean", "variance"))
        return (x - m) / torch.sqrt(v + 1e-5) * g + b

    def conv_bn(self, name, x, stride=1):
        w = self.w[f"{name}.conv.w"]
        return self.bn(f"{name}.batch_norm", F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2))

    def moe_bn(self, name, x, score, stride=1):
        y, filters = [], self.w[f"{name}.experts.w"]
        for image, row in zip(x, score.numpy()):
            w = filters[int(np.argmax(row))]  # the lowest index on a tie
            y.append(F.conv2d(image[None], w, stride=stride, padding=w.shape[-1] // 2))
        empty = torch.zeros(0, filters.shape[1], 1, 1).double()
        return self.bn(f"{name}.batch_norm", torch.cat(y) if y else empty)

    def router(self, x, at="route_by"):
        x = F.relu(self.conv_bn(f"{at}.stem", x))
        for name, stride in (("first", 1), ("second", 2), ("third", 2)):
            y = F.relu(self.conv_bn(f"{at}.{name}.one", x, stride))
            y = self.conv_bn(f"{at}.{name}.two", y)
            missing = y.shape[1] - x.shape[1]
            x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing - missing // 2))
            x = F.relu(x + y)
        return x.mean((2, 3)) @ self.w[f"{at}.w"].T + self.w[f"{at}.bias"]

    def backbone(self, x, score, at="net"):
        """Without scores each layer has a router of its own."""
        x = F.relu(self.conv_bn(f"{at}.stem", x))
        for name, stride in (("first", 1), ("second", 2)):
            y = x
            for layer, step in (("one", stride), ("two", 1)):
                own = self.router(y, f"{at}.{name}.{layer}_by") if score is None else score
                if score is None:
                    best = own.topk(2, dim=1).values
                    self.gap = min(self.gap, (best[:, 0] - best[:, 1]).min().item()) if len(best) else self.gap
                y = self.moe_bn(f"{at}.{name}.{layer}", y, own, step)
                y = F.relu(y) if layer == "one" else y
            x = F.relu(y + (x if stride == 1 else self.conv_bn(f"{at}.narrow", x, stride)))
        return x.mean((2, 3)) @ self.w[f"{at}.w"].T + self.w[f"{at}.bias"]

    def bottlenecks(self, x, score):
        x = F.relu(self.conv_bn("deep.stem", x))
        for name, stride, shortcut in (("first", 1, "widen"), ("second", 2, "narrow")):
            y = F.relu(self.moe_bn(f"deep.{name}.one", x, score))
            y = F.relu(self.moe_bn(f"deep.{name}.two", y, score, stride))
            x = F.relu(self.moe_bn(f"deep.{name}.three", y, score) + self.conv_bn(f"deep.{shortcut}", x, stride))
        return x.mean((2, 3)) @ self.w["deep.w"].T + self.w["deep.bias"]


# Weights and golden values.


def weights(experts):
    w = {}

    def bn(name, c):
        w[f"{name}.batch_norm.scale"] = 0.5 + torch.rand(c)
        w[f"{name}.batch_norm.shift"] = 0.2 * torch.randn(c)
        w[f"{name}.batch_norm.mean"] = 0.2 * torch.randn(c)
        w[f"{name}.batch_norm.variance"] = 0.5 + torch.rand(c)

    def conv(name, o, i, size=3):
        w[f"{name}.conv.w"] = torch.randn(o, i, size, size) * (2 / (i * size * size)) ** 0.5
        bn(name, o)

    def moe(name, o, i, size=3):
        w[f"{name}.experts.w"] = torch.randn(experts, o, i, size, size) * (2 / (i * size * size)) ** 0.5
        bn(name, o)

    def router(name, colours, r):
        conv(f"{name}.stem", r, colours)
        for part, i, o in (("first", r, r), ("second", r, 2 * r), ("third", 2 * r, 4 * r)):
            conv(f"{name}.{part}.one", o, i)
            conv(f"{name}.{part}.two", o, o)
        w[f"{name}.w"], w[f"{name}.bias"] = torch.randn(experts, 4 * r), torch.zeros(experts)

    def backbone(name, wide, own_routers):
        conv(f"{name}.stem", wide, 3)
        for part, i, o in (("first", wide, wide), ("second", wide, 2 * wide)):
            moe(f"{name}.{part}.one", o, i)
            moe(f"{name}.{part}.two", o, o)
            if own_routers:
                router(f"{name}.{part}.one_by", i, 2)
                router(f"{name}.{part}.two_by", o, 2)
        conv(f"{name}.narrow", 2 * wide, wide, size=1)
        w[f"{name}.w"], w[f"{name}.bias"] = torch.randn(CLASSES, 2 * wide) / 4, 0.1 * torch.randn(CLASSES)

    router("route_by", 3, 4)
    backbone("net", 8, False)
    backbone("each", 4, True)
    conv("deep.stem", 8, 3)
    for part, i, o, shortcut in (("first", 8, 16, "widen"), ("second", 16, 32, "narrow")):
        for layer, wide, narrow, size in (("one", o // 4, i, 1), ("two", o // 4, o // 4, 3), ("three", o, o // 4, 1)):
            moe(f"deep.{part}.{layer}", wide, narrow, size)
        conv(f"deep.{shortcut}", o, i, size=1)
    w["deep.w"], w["deep.bias"] = torch.randn(CLASSES, 32) / 4, 0.1 * torch.randn(CLASSES)
    return w


def main(experts, folder):
    torch.manual_seed(8)
    w = weights(experts)
    net = Net({name: value.double() for name, value in w.items()})
    # Random routers send all images to one expert; a bias of the mean score makes them choose.
    scores = net.router(torch.rand(64, 3, SIDE, SIDE).double())
    w["route_by.bias"] = -scores.mean(0).float()
    net.w["route_by.bias"] = w["route_by.bias"].double()
    golden = {}

    def images(batch):
        x = torch.rand(4 * batch + 8, 3, SIDE, SIDE)
        best = net.router(x.double()).topk(2).values
        return x[best[:, 0] - best[:, 1] > CLEAR][:batch]

    def add(prefix, x, score=None):
        given = score is not None
        score = score.double() if given else net.router(x.double())
        golden[f"{prefix}.image"] = x.permute(0, 2, 3, 1).contiguous()  # the colours are innermost
        golden[f"{prefix}.score"] = score.float()
        golden[f"{prefix}.logits"] = net.backbone(x.double(), score).float()
        if not given:
            golden[f"{prefix}.each"] = net.backbone(x.double(), None, "each").float()
            golden[f"{prefix}.deep"] = net.bottlenecks(x.double(), score).float()

    for batch in (1, 5, 13):
        add(f"b{batch}", images(batch))
    assert net.gap > CLEAR / 10, net.gap
    chosen = golden["b13.score"].argmax(1)
    assert len(set(chosen.tolist())) == experts, chosen
    best, all_one = torch.eye(experts)[[i % experts for i in (1, 0, 2, 1, 0)]], torch.eye(experts)[[experts - 1] * 5]
    best[4, :2] = 0.5  # a tie: the first of both
    if experts == 3:
        best[4, 2] = 0.25
    add("forced", images(5), best)
    add("same", images(5), all_one)  # the other experts have no image
    add("b0", images(5)[:0])
    # Routers in each layer and bottlenecks stand in a folder of their own.
    others = HERE.parent / "08-advmoe-variants"
    is_other = lambda name: name.startswith(("each.", "deep.")) or name.endswith((".each", ".deep"))
    save_file({name: value for name, value in w.items() if not is_other(name)}, folder / "weights.safetensors")
    save_file({name: value for name, value in golden.items() if not is_other(name)}, folder / "golden.safetensors")
    if folder == HERE:
        own = {name: value for name, value in w.items() if is_other(name) or name.startswith("route_by.")}
        save_file(own, others / "weights.safetensors")
        own = {name: value for name, value in golden.items() if is_other(name) or name.endswith(".image")}
        save_file(own, others / "golden.safetensors")


MEDIUM = {"SIDE": 32}


def medium():
    """Thirty-two images of 32 x 32."""
    torch.manual_seed(8)
    w = weights(3)
    scores = Net({name: value.double() for name, value in w.items()}).router(torch.rand(64, 3, SIDE, SIDE).double())
    w["route_by.bias"] = -scores.mean(0).float()

    def network(w, x):
        """All images of an expert at once."""
        net = Net(w)

        def moe_bn(name, x, score, stride=1):
            filters, best, y = w[f"{name}.experts.w"], score.argmax(1), None
            for e in best.unique():
                rows = torch.nn.functional.conv2d(x[best == e], filters[e], stride=stride, padding=1)
                y = x.new_zeros(len(x), *rows.shape[1:]) if y is None else y
                y[best == e] = rows
            return net.bn(f"{name}.batch_norm", y)

        net.moe_bn = moe_bn
        image = x["image"].permute(0, 3, 1, 2)
        score = net.router(image)
        return {"logits": net.backbone(image, score), "score": score}

    return {
        "entry": "classify", "weights": w, "inputs": {"image": torch.rand(32, SIDE, SIDE, 3)}, "network": network,
        "axes": {"row": SIDE, "col": SIDE},
    }


if __name__ == "__main__":
    main(3, HERE)
    main(2, HERE.parent / "08-advmoe-two")
