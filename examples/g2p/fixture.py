"""Golden values of g2p: python fixture.py

The phonemes are what the package's own code says (pip install --no-deps g2p_en; numpy and safetensors). What it needs besides for whole
sentences (NLTK and its corpora, inflect) is left out: `predict` does not ask for them.
"""
import pathlib
import sys
from unittest.mock import MagicMock

import numpy as np
from safetensors.numpy import save_file

for absent in "nltk", "nltk.corpus", "nltk.tokenize", "inflect":
    sys.modules.setdefault(absent, MagicMock())
from g2p_en.g2p import G2p  # noqa: E402

HERE = pathlib.Path(__file__).parent
STEPS = 20


def main():
    package = G2p()
    end, unknown = package.p2idx["</s>"], package.g2idx["<unk>"]
    words = (HERE / "words.txt").read_text().split()
    longest = max(map(len, words)) + 1
    letters = np.zeros((len(words), longest), np.int32)
    sounds = np.full((len(words), STEPS), end, np.int32)
    for row, said, word in zip(letters, sounds, words):
        row[: len(word) + 1] = [package.g2idx.get(c, unknown) for c in [*word, "</s>"]]
        phonemes = [package.p2idx[p] for p in package.predict(word)]
        said[: len(phonemes)] = phonemes
    lengths = np.array([len(word) + 1 for word in words], np.int32)
    golden = {"all.letters": letters, "all.length": lengths, "all.sounds": sounds}
    # The first word on its own.
    golden |= {name.replace("all", "one"): value[:1].copy() for name, value in golden.items()}
    golden["one.letters"] = golden["one.letters"][:, : lengths[0]].copy()
    save_file(golden, HERE / "golden.safetensors")
    print(f"{len(words)} words of up to {longest - 1} letters")
    print(words[0], *package.predict(words[0]))


if __name__ == "__main__":
    main()
