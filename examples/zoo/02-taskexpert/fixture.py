"""Golden values of TaskExpert: python fixture.py     (pip install torch numpy safetensors)

PyTorch's functions in float64 on float32 weights, task by task, expert by expert; maps stand channels
first.
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
TASKS, EXPERTS, ROWS, COLS, PATCH, C, D, R, HEADS, LAYERS = 3, 3, 2, 3, 16, 8, 6, 4, 2, 2
OUTPUTS = {"segment": 4, "depth": 1, "normal": 3}


def norm(w, x, *i):
    return F.batch_norm(x, w["average"][i], w["variance"][i], w["gamma"][i], w["beta"][i], eps=1e-5)


def under(w, name):
    """The weights of a part."""
    return {key[len(name) + 1:]: value for key, value in w.items() if key.startswith(name + ".")}


def encoder(w, x):
    b, s, _ = x.shape
    a = F.layer_norm(x, [C], w["norm1"], w["shift1"], 1e-6)
    q, k, v = (F.linear(a, w["w"][n].reshape(C, C), w["bias"][n].reshape(C)) for n in range(3))
    q, k, v = (t.reshape(b, s, HEADS, C // HEADS).transpose(1, 2) for t in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, s, C)
    x = x + F.linear(y, w["out"].reshape(C, C), w["out_bias"])
    a = F.layer_norm(x, [C], w["norm2"], w["shift2"], 1e-6)
    return x + F.linear(F.gelu(F.linear(a, w["up"], w["up_bias"])), w["down"], w["down_bias"])


def expert(w, x, e):
    x = F.conv2d(x, w["narrow"][e][:, :, None, None], w["narrow_bias"][e])
    return F.conv2d(F.gelu(norm(w, x, e)), w["w"][e], w["bias"][e], padding=1)


def gate(w, x, memory, t, kind=None):
    x, memory = x.permute(0, 2, 3, 1), memory.permute(0, 2, 3, 1)
    seen = F.gelu(F.layer_norm(x @ w["from_x"].T, [R], w["scale_x"], w["shift_x"], 1e-5))
    kept = F.gelu(F.layer_norm(memory @ w["from_memory"][t].T, [R], w["scale_memory"][t], w["shift_memory"][t], 1e-5))
    if kind == "per_place":
        return torch.softmax((seen + kept) @ w["w"][t].T + w["bias"][t], -1)
    z = (seen.mean((1, 2)) + kept.mean((1, 2))) @ w["w"][t].T + w["bias"][t]
    if kind == "two_paths":
        path = F.layer_norm(torch.einsum("byxc,yx->bc", x, w["places"]), [C], w["scale_path"], w["shift_path"], 1e-5)
        z = z + path @ w["w_path"][t].T
    others = torch.ones_like(z, dtype=torch.bool)
    for row, chosen in zip(z, others):
        chosen[row[:EXPERTS].topk(2).indices] = False
    others[:, EXPERTS] = False
    if kind == "top_after":
        z = z.masked_fill(others, -torch.inf)
    return torch.softmax(z, -1).masked_fill(others & (kind == "top_before"), 0)


def memorial(w, x, memories, kind=None):
    if kind == "low_rank":
        own = under(w, "mixture")
        maps = [(x.permute(0, 2, 3, 1) @ own[f"{n}.a"] @ own[f"{n}.b"]).permute(0, 3, 1, 2) for n in ("one", "two", "three")]
    else:
        maps = [expert(under(w, "mixture.experts"), x, e) for e in range(EXPERTS)]
    new = []
    for t, memory in enumerate(memories):
        g = gate(under(w, "gate"), x, memory, t, kind)
        g = g.permute(0, 3, 1, 2)[:, :, None] if kind == "per_place" else g[:, :, None, None, None]
        mixed = g[:, EXPERTS] * F.conv2d(memory, w["recall"][t][:, :, None, None], w["recall_bias"][t])
        for e in range(EXPERTS):
            mixed = mixed + g[:, e] * maps[e]
        written = F.conv2d(mixed, w["update"][t], w["update_bias"][t], padding=1)
        new.append(memory + F.gelu(norm(w, written, t)))
    return new


def predict(w, memory):
    x = F.interpolate(memory, scale_factor=4, mode="bilinear", align_corners=False)
    x = F.gelu(norm(w, F.conv2d(x, w["w"], w["bias"], padding=1)))
    x = F.conv2d(x, w["final"][:, :, None, None], w["final_bias"])
    return F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)


def network(w, image):
    b = len(image)
    x = F.conv2d(image, w["patch"], w["patch_bias"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([w["class"].expand(b, 1, C), x], 1) + w["place"]
    taps = []
    for layer in range(LAYERS):
        x = encoder({name: value[layer] for name, value in under(w, "encoder").items()}, x)
        taps.append(x if layer + 1 < LAYERS else F.layer_norm(x, [C], w["norm"], w["shift"], 1e-6))
    memories = [w["memory"][t][:, None, None].expand(b, D, ROWS, COLS) for t in range(TASKS)]
    for module, tap in enumerate(taps):
        features = tap[:, 1:].transpose(1, 2).reshape(b, C, ROWS, COLS)
        memories = memorial({name: value[module] for name, value in under(w, "memorial").items()}, features, memories)
    return [predict(under(w, name), memory) for name, memory in zip(OUTPUTS, memories)]


# Weights and golden values.


def options():
    """One module alone, of each kind."""
    w = {name.removeprefix("memorial."): value[0].clone() for name, value in weights().items() if name.startswith("memorial.")}
    for n, rank in enumerate(("one", "two", "three"), 1):
        w[f"mixture.{rank}.a"], w[f"mixture.{rank}.b"] = torch.randn(C, n) * C**-0.5, torch.randn(n, D)
    w |= {"gate.places": torch.randn(ROWS, COLS) / 2, "gate.w_path": torch.randn(TASKS, EXPERTS + 1, C) / 2,
          "gate.scale_path": 0.5 + torch.rand(C), "gate.shift_path": 0.3 * torch.randn(C)}
    x, memory = torch.randn(2, C, ROWS, COLS), torch.randn(TASKS, 2, D, ROWS, COLS)
    golden = {"x": x.permute(0, 2, 3, 1), "memory": memory.permute(1, 0, 3, 4, 2)}
    double = {name: value.double() for name, value in w.items()}
    for kind in ("per_place", "two_paths", "top_before", "top_after", "low_rank"):
        made = memorial(double, x.double(), memory.double(), kind)
        golden[kind] = torch.stack(made, 1).permute(0, 1, 3, 4, 2).float()
    folder = HERE.parent / "02-taskexpert-options"
    # `two_paths` has its logits from another block, whose weights stand under that one's name.
    w |= {name.replace("gate.", "gate.pooled."): value.clone() for name, value in w.items() if name.startswith("gate.")}
    save_file({f"module.{name}": value for name, value in w.items()}, folder / "weights.safetensors")
    save_file({name: value.contiguous() for name, value in golden.items()}, folder / "golden.safetensors")


def weights():
    w = {}

    def matrix(name, *shape, fan):
        w[name] = torch.randn(*shape) / fan**0.5

    def vectors(names, *shape):
        """Scales and variances around 1, others around 0."""
        for name in names.split():
            positive = name.split(".")[-1].startswith(("norm", "gamma", "variance", "scale"))
            w[name] = 0.5 + torch.rand(*shape) if positive else 0.3 * torch.randn(*shape)

    def batchnorm(name, *shape):
        vectors(" ".join(f"{name}.{part}" for part in ("gamma", "beta", "average", "variance")), *shape)

    matrix("patch", C, 3, PATCH, PATCH, fan=3 * PATCH * PATCH / 4)
    vectors("patch_bias class norm shift", C)
    vectors("place", 1 + ROWS * COLS, C)
    vectors("memory", TASKS, D)
    vectors("encoder.norm1 encoder.shift1 encoder.norm2 encoder.shift2 encoder.out_bias encoder.down_bias", LAYERS, C)
    matrix("encoder.w", LAYERS, 3, HEADS, C // HEADS, C, fan=C / 2)
    vectors("encoder.bias", LAYERS, 3, HEADS, C // HEADS)
    matrix("encoder.out", LAYERS, C, HEADS, C // HEADS, fan=C)
    matrix("encoder.up", LAYERS, 4 * C, C, fan=C)
    vectors("encoder.up_bias", LAYERS, 4 * C)
    matrix("encoder.down", LAYERS, C, 4 * C, fan=4 * C)
    matrix("memorial.recall", LAYERS, TASKS, D, D, fan=D)
    vectors("memorial.recall_bias memorial.update_bias", LAYERS, TASKS, D)
    matrix("memorial.update", LAYERS, TASKS, D, D, 3, 3, fan=9 * D)
    batchnorm("memorial", LAYERS, TASKS, D)
    matrix("memorial.gate.from_x", LAYERS, R, C, fan=C)
    vectors("memorial.gate.scale_x memorial.gate.shift_x", LAYERS, R)
    matrix("memorial.gate.from_memory", LAYERS, TASKS, R, D, fan=D)
    vectors("memorial.gate.scale_memory memorial.gate.shift_memory", LAYERS, TASKS, R)
    matrix("memorial.gate.w", LAYERS, TASKS, EXPERTS + 1, R, fan=R / 4)
    vectors("memorial.gate.bias", LAYERS, TASKS, EXPERTS + 1)
    matrix("memorial.mixture.experts.narrow", LAYERS, EXPERTS, D, C, fan=C)
    vectors("memorial.mixture.experts.narrow_bias memorial.mixture.experts.bias", LAYERS, EXPERTS, D)
    batchnorm("memorial.mixture.experts", LAYERS, EXPERTS, D)
    matrix("memorial.mixture.experts.w", LAYERS, EXPERTS, D, D, 3, 3, fan=9 * D)
    for name, out in OUTPUTS.items():
        matrix(f"{name}.w", D, D, 3, 3, fan=9 * D)
        vectors(f"{name}.bias", D)
        batchnorm(name, D)
        matrix(f"{name}.final", out, D, fan=D)
        vectors(f"{name}.final_bias", out)
    return w


def main():
    torch.manual_seed(2)
    w = weights()
    double = {name: value.double() for name, value in w.items()}
    golden = {}
    for batch in (0, 1, 2):
        image = torch.rand(batch, 3, PATCH * ROWS, PATCH * COLS)
        golden[f"b{batch}.image"] = image
        for name, y in zip(("segments", "depth", "normals"), network(double, image.double())):
            golden[f"b{batch}.{name}"] = y.float().contiguous()
    save_file(w, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")
    options()


MEDIUM = {"ROWS": 8, "COLS": 8, "C": 128, "D": 96, "R": 24, "HEADS": 4}


def medium():
    """Two layers and modules on an image of 128 x 128."""
    torch.manual_seed(2)

    def run(w, x):
        return dict(zip(("segments", "depth", "normals"), network(w, x["image"])))

    side = {"row": ROWS, "col": COLS, "height": PATCH * ROWS, "width": PATCH * COLS}
    return {
        "entry": "taskexpert", "weights": weights(), "inputs": {"image": torch.rand(1, 3, PATCH * ROWS, PATCH * COLS)},
        "network": run, "axes": side | {"c": C, "d": D, "r": R, "head": HEADS, "k": C // HEADS},
    }


if __name__ == "__main__":
    main()
