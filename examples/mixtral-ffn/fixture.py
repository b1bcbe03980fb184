"""Golden values of Mixtral's feed-forward: python fixture.py [--size medium --out FOLDER]

They come from transformers' own `MixtralSparseMoeBlock` (pip install torch transformers safetensors), run in float64 on
float32 weights; it computes the softmax over the experts in float32. The weights are named as in Hugging Face checkpoints
(`block_sparse_moe...` of one layer); the block holds them stacked. The tiny size is in the repository; the medium one (the
widths of the benchmark, 66 MB) is written where `--out` says, with a case.toml to run it.
"""
import argparse
import pathlib

import torch
from safetensors.torch import save_file
from transformers import MixtralConfig, __version__
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

HERE = pathlib.Path(__file__).parent
EXPERTS, CHOSEN = 8, 2
SIZES = {"tiny": dict(d=32, h=56), "medium": dict(d=512, h=1792)}
TOKENS = [1, 5, 33]
CLEAR = 1e-3  # between the second and the third score: rounding must not change the choice


def weights(d, h):
    def matrix(rows, columns):
        return torch.randn(rows, columns) * columns**-0.5

    w = {"block_sparse_moe.gate.weight": matrix(EXPERTS, d)}
    for e in range(EXPERTS):
        w |= {f"block_sparse_moe.experts.{e}.w{n}.weight": matrix(*shape) for n, shape in ((1, (h, d)), (2, (d, h)), (3, (h, d)))}
    return w


def block(w, d, h):
    """Hugging Face's block with these weights."""
    config = MixtralConfig(hidden_size=d, intermediate_size=h, num_local_experts=EXPERTS, num_experts_per_tok=CHOSEN)
    config._experts_implementation = "eager"
    moe = MixtralSparseMoeBlock(config).double().eval()

    def stacked(n):
        return torch.stack([w[f"block_sparse_moe.experts.{e}.w{n}.weight"] for e in range(EXPERTS)]).double()

    moe.load_state_dict({
        "gate.weight": w["block_sparse_moe.gate.weight"].double(),
        "experts.gate_up_proj": torch.cat([stacked(1), stacked(3)], dim=1),
        "experts.down_proj": stacked(2),
    })
    return moe


def written_out(w, x):
    """The equations of README.md."""
    w = {name: value.double() for name, value in w.items()}
    score = torch.softmax(x @ w["block_sparse_moe.gate.weight"].T, -1)
    y = torch.zeros_like(x)
    for row, s in enumerate(score):
        chosen = sorted(range(EXPERTS), key=lambda e: (-s[e], e))[:CHOSEN]
        total = sum(s[e] for e in chosen)
        for e in chosen:
            w1, w2, w3 = (w[f"block_sparse_moe.experts.{e}.w{n}.weight"] for n in (1, 2, 3))
            y[row] += s[e] / total * (w2 @ (torch.nn.functional.silu(w1 @ x[row]) * (w3 @ x[row])))
    return y


def clear_rows(w, count, d):
    """Rows whose choice of experts is not near a tie."""
    x = torch.randn(4 * count + 16, d)
    score = torch.softmax(x.double() @ w["block_sparse_moe.gate.weight"].T.double(), -1).sort(descending=True).values
    return x[score[:, CHOSEN - 1] - score[:, CHOSEN] > CLEAR][:count].contiguous()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--size", choices=SIZES, default="tiny")
    args.add_argument("--out", type=pathlib.Path, default=HERE)
    args = args.parse_args()
    if args.size != "tiny" and args.out == HERE:
        raise SystemExit("--size medium needs --out FOLDER: it is too large for the repository")
    torch.manual_seed(5)
    size = SIZES[args.size]
    w = weights(**size)
    moe = block(w, **size)
    golden, largest = {}, 0
    for tokens in TOKENS:
        x = clear_rows(w, tokens, size["d"])
        assert len(x) == tokens
        with torch.no_grad():
            y = moe(x.double()[None])[0]
        largest = max(largest, float((y - written_out(w, x.double())).abs().max()))
        golden |= {f"t{tokens}.x": x, f"t{tokens}.y": y.float().contiguous()}
    # All rows of one batch to the same two experts, and no rows at all.
    same = golden["t5.x"][:1].repeat(9, 1)
    golden |= {"same.x": same, "same.y": golden["t5.y"][:1].repeat(9, 1)}
    golden |= {"t0.x": same[:0].clone(), "t0.y": same[:0].clone()}
    print(f"transformers {__version__}; largest difference to the equations: {largest:.1e}")
    assert largest < 1e-6
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(w, args.out / "weights.safetensors")
    save_file(golden, args.out / "golden.safetensors")
    if args.out != HERE:
        case = (HERE / "case.toml").read_text().replace('"model.gate"', f'"{HERE.resolve() / "model.gate"}"')
        widths = ", ".join(f"{axis} = {n}" for axis, n in SIZES["tiny"].items())
        (args.out / "case.toml").write_text(case.replace(widths, ", ".join(f"{axis} = {n}" for axis, n in size.items())))


if __name__ == "__main__":
    main()
