"""Golden values of Mixtral's feed-forward with weights in bf16: python fixture.py

The weights of ../mixtral-ffn are rounded to bf16; the golden values come from transformers' own `MixtralSparseMoeBlock`, run in
float64 on those weights widened (pip install torch transformers safetensors).
"""
import importlib.util
import pathlib

import torch
from safetensors.torch import save_file
from transformers import __version__

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("wide", HERE.parent / "mixtral-ffn" / "fixture.py")
wide = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wide)


def main():
    torch.manual_seed(6)
    size = wide.SIZES["tiny"]
    stored = {name: w.bfloat16() for name, w in wide.weights(**size).items()}
    w = {name: s.float() for name, s in stored.items()}
    moe = wide.block(w, **size)
    golden, largest = {}, 0
    for tokens in wide.TOKENS:
        x = wide.clear_rows(w, tokens, size["d"])
        assert len(x) == tokens
        with torch.no_grad():
            y = moe(x.double()[None])[0]
        largest = max(largest, float((y - wide.written_out(w, x.double())).abs().max()))
        golden |= {f"t{tokens}.x": x, f"t{tokens}.y": y.float().contiguous()}
    print(f"transformers {__version__}; largest difference to the equations: {largest:.1e}")
    assert largest < 1e-6
    save_file(stored, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


if __name__ == "__main__":
    main()
