"""The trained weights of g2p_en 2.1.0: python3 weights.py [WHEEL]

Writes weights.safetensors (3.3 MB, not in git) beside this file, with the names and shapes of the package's checkpoint20.npz. Without
WHEEL pip downloads the package, without its dependencies. Needs nothing but Python.
"""
import ast
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).parent
PACKAGE = "g2p_en==2.1.0"
CHECKPOINT = "g2p_en/checkpoint20.npz"
SHA256 = "b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6"  # of the checkpoint


def downloaded(folder):
    """The package's wheel."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--dest", folder]
    subprocess.run([*pip, PACKAGE], check=True)
    return next(pathlib.Path(folder).glob("*.whl"))


def array(file):
    """Shape and bytes of an array of NumPy's format, version 1: magic, version, length of the header, header, elements."""
    head = file.read(10)
    assert head[:8] == b"\x93NUMPY\x01\x00"
    about = ast.literal_eval(file.read(int.from_bytes(head[8:], "little")).decode("latin1"))
    assert about["descr"] == "<f4" and not about["fortran_order"]
    return list(about["shape"]), file.read()


def main():
    with tempfile.TemporaryDirectory() as folder:
        wheel = sys.argv[1] if len(sys.argv) > 1 else downloaded(folder)
        checkpoint = zipfile.ZipFile(wheel).read(CHECKPOINT)
    assert hashlib.sha256(checkpoint).hexdigest() == SHA256, "another checkpoint than that of " + PACKAGE
    arrays = zipfile.ZipFile(io.BytesIO(checkpoint))
    header, data = {}, b""
    for name in sorted(arrays.namelist()):
        shape, elements = array(arrays.open(name))
        offsets = [len(data), len(data) + len(elements)]
        header[name.removesuffix(".npy")] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        data += elements
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    out = HERE / "weights.safetensors"
    partial = out.with_suffix(".partial")
    partial.write_bytes(len(header).to_bytes(8, "little") + header + data)
    os.replace(partial, out)  # whole or not at all


if __name__ == "__main__":
    main()
