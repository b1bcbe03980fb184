"""Golden values of AdvMoE: python fixture.py     (pip install torch numpy safetensors)

PyTorch's convolutions in float64 on float32 weights, image by image, each with the filters of its expert. Writes
this folder (three experts) and ../08-advmoe-two (two).
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
        self.w = w

    def bn(self, name, x):
        g, b, m, v = (self.w[f"{name}.{part}"][:, None, None] for part in ("gamma", "beta", "average", "variance"))
        return (x - m) / torch.sqrt(v + 1e-5) * g + b

    def conv_bn(self, name, x, stride=1):
        w = self.w[f"{name}.conv.w"]
        return self.bn(f"{name}.batchnorm", F.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2))

    def moe_bn(self, name, x, score, stride=1):
        y = []
        for image, row in zip(x, score.numpy()):
            w = self.w[f"{name}.w"][int(np.argmax(row))]  # the lowest index on a tie
            y.append(F.conv2d(image[None], w, stride=stride, padding=1))
        empty = torch.zeros(0, self.w[f"{name}.w"].shape[1], 1, 1).double()
        return self.bn(f"{name}.batchnorm", torch.cat(y) if y else empty)

    def router(self, x):
        x = F.relu(self.conv_bn("route_by.stem", x))
        for name, stride in (("first", 1), ("second", 2), ("third", 2)):
            y = F.relu(self.conv_bn(f"route_by.{name}.one", x, stride))
            y = self.conv_bn(f"route_by.{name}.two", y)
            missing = y.shape[1] - x.shape[1]
            x = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing - missing // 2))
            x = F.relu(x + y)
        return x.mean((2, 3)) @ self.w["route_by.w"].T + self.w["route_by.bias"]

    def backbone(self, x, score):
        x = F.relu(self.conv_bn("net.stem", x))
        for name, stride in (("first", 1), ("second", 2)):
            y = F.relu(self.moe_bn(f"net.{name}.one", x, score, stride))
            y = self.moe_bn(f"net.{name}.two", y, score)
            x = F.relu(y + (x if stride == 1 else self.conv_bn("net.narrow", x, stride)))
        return x.mean((2, 3)) @ self.w["net.w"].T + self.w["net.bias"]


def weights(experts):
    w = {}

    def bn(name, c):
        w[f"{name}.batchnorm.gamma"] = 0.5 + torch.rand(c)
        w[f"{name}.batchnorm.beta"] = 0.2 * torch.randn(c)
        w[f"{name}.batchnorm.average"] = 0.2 * torch.randn(c)
        w[f"{name}.batchnorm.variance"] = 0.5 + torch.rand(c)

    def conv(name, o, i, size=3):
        w[f"{name}.conv.w"] = torch.randn(o, i, size, size) * (2 / (i * size * size)) ** 0.5
        bn(name, o)

    def moe(name, o, i):
        w[f"{name}.w"] = torch.randn(experts, o, i, 3, 3) * (2 / (i * 9)) ** 0.5
        bn(name, o)

    conv("route_by.stem", 4, 3)
    for name, i, o in (("first", 4, 4), ("second", 4, 8), ("third", 8, 16)):
        conv(f"route_by.{name}.one", o, i)
        conv(f"route_by.{name}.two", o, o)
    w["route_by.w"], w["route_by.bias"] = torch.randn(experts, 16), torch.zeros(experts)
    conv("net.stem", 8, 3)
    for name, i, o in (("first", 8, 8), ("second", 8, 16)):
        moe(f"net.{name}.one", o, i)
        moe(f"net.{name}.two", o, o)
    conv("net.narrow", 16, 8, size=1)
    w["net.w"], w["net.bias"] = torch.randn(CLASSES, 16) / 4, 0.1 * torch.randn(CLASSES)
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

    for batch in (1, 5, 13):
        add(f"b{batch}", images(batch))
    chosen = golden["b13.score"].argmax(1)
    assert len(set(chosen.tolist())) == experts, chosen
    best, all_one = torch.eye(experts)[[i % experts for i in (1, 0, 2, 1, 0)]], torch.eye(experts)[[experts - 1] * 5]
    best[4, :2] = 0.5  # a tie: the first of both
    if experts == 3:
        best[4, 2] = 0.25
    add("forced", images(5), best)
    add("same", images(5), all_one)  # the other experts have no image
    add("b0", images(5)[:0])
    save_file(w, folder / "weights.safetensors")
    save_file(golden, folder / "golden.safetensors")


if __name__ == "__main__":
    main(3, HERE)
    main(2, HERE.parent / "08-advmoe-two")
