"""Golden values of Silero VAD: python fixture.py [--models FOLDER]

The probabilities are those of the package's own ONNX models under ONNX Runtime (pip install silero-vad onnx onnxruntime
safetensors). The network is also written out below in NumPy, from the equations in README.md: it must agree with them on
every frame.

The weights in the package's `silero_vad_16k.safetensors` are not those of its ONNX models (in 6.2.0 to 6.2.3: the networks
are equal, the numbers are of another training). So there are two sets of weights, both under the names of the former:

    silero_vad_16k.safetensors   as shipped; its probabilities are those of the ONNX model with these weights put in
    released.safetensors         taken from the ONNX models, which then run as they stand
"""
import argparse
import pathlib
import wave

import numpy as np
import onnx
import onnxruntime
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
STEP, CONTEXT = 512, 64
AGREE = 1e-5  # absolute, on every frame


def chunks():
    """The recording as f32[step, 512]; what does not fill a step is left out."""
    with wave.open(str(HERE / "recording.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    return sound[: len(sound) // STEP * STEP].reshape(-1, STEP)


def with_context(sound):
    """Each step after the last 64 samples of the one before; zeros before the first."""
    before = np.concatenate([np.zeros((1, CONTEXT), sound.dtype), sound[:-1, -CONTEXT:]])
    return np.concatenate([before, sound], axis=1)


def conv(x, weight, bias=None, stride=1, pad=0):
    """x: [n, cin, t], weight: [cout, cin, k]."""
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    windows = sliding_window_view(x, weight.shape[2], axis=2)[:, :, ::stride]
    y = np.einsum("nctk,ock->not", windows, weight)
    return y if bias is None else y + bias[:, None]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def network(sound, w):
    """Probability, hidden and cell state of every step, in float64."""
    w = {name: value.astype(np.float64) for name, value in w.items()}
    x = np.pad(with_context(sound.astype(np.float64)), ((0, 0), (0, CONTEXT)), mode="reflect")
    spectrum = conv(x[:, None], w["stft_conv.weight"], stride=128)
    x = np.sqrt(spectrum[:, :129] ** 2 + spectrum[:, 129:] ** 2)
    for name, stride in ("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 1):
        x = np.maximum(conv(x, w[name + ".weight"], w[name + ".bias"], stride, pad=1), 0)
    assert x.shape[2] == 1
    from_input = x[:, :, 0] @ w["lstm_cell.weight_ih"].T + w["lstm_cell.bias_ih"] + w["lstm_cell.bias_hh"]
    h = c = np.zeros(128)
    speech, hs, cs = [], [], []
    for gates in from_input:
        i, f, g, o = np.split(gates + w["lstm_cell.weight_hh"] @ h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        speech.append(sigmoid(w["final_conv.weight"][0, :, 0] @ np.maximum(h, 0) + w["final_conv.bias"][0]))
        hs.append(h)
        cs.append(c)
    return np.array(speech), np.array(hs), np.array(cs)


def onnx_name(name):
    """The name in the ONNX model of a tensor of the safetensors file."""
    layer, kind = name.split(".")
    if layer.startswith("conv"):
        return f"model.encoder.{int(layer[4:]) - 1}.reparam_conv.{kind}"
    at = {"stft_conv": "stft.forward_basis_buffer", "lstm_cell": f"decoder.rnn.{kind}", "final_conv": f"decoder.decoder.2.{kind}"}
    return "model." + at[layer]


def tensors(model):
    """Initialisers by name, and the constants of the graph."""
    found = {i.name: i for i in model.graph.initializer}
    return found | {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}


def by_chunk(model, sound):
    """Probability, hidden and cell state after every step."""
    run = onnxruntime.InferenceSession(model.SerializeToString()).run
    state, speech, states = np.zeros((2, 1, 128), np.float32), [], []
    for samples in with_context(sound):
        y, state = run(None, {"input": samples[None], "state": state, "sr": np.array(16000)})
        speech.append(y[0, 0])
        states.append(state[:, 0])
    return np.array(speech), np.array(states)


def at_once(path, sound):
    run = onnxruntime.InferenceSession(str(path)).run
    zero = np.zeros((1, 1, 128), np.float32)
    return run(None, {"input": with_context(sound), "h": zero, "c": zero})[0].reshape(-1)


def agree(what, a, b, limit=AGREE):
    error = np.abs(a - b).max()
    print(f"{what}: {error:.1e}")
    assert error < limit


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--models", type=pathlib.Path, help="folder of the ONNX models (those of the installed package)")
    models = args.parse_args().models
    if models is None:
        import silero_vad
        models = pathlib.Path(silero_vad.__file__).parent / "data"

    sound = chunks()
    print(f"{len(sound)} steps; largest differences")
    shipped = load_file(HERE / "silero_vad_16k.safetensors")
    model = onnx.load(models / "silero_vad_16k_op15.onnx")
    own = tensors(model)
    released = {name: onnx.numpy_helper.to_array(own[onnx_name(name)]).copy() for name in shipped}
    save_file(released, HERE / "released.safetensors")

    golden = {}
    for group, weights in {"released": released, "shipped": shipped}.items():
        for name, value in weights.items():
            own[onnx_name(name)].CopyFrom(onnx.numpy_helper.from_array(value, own[onnx_name(name)].name))
        ours, hidden, cell = network(sound, weights)
        speech, states = by_chunk(model, sound)
        agree(f"{group}: chunk model and NumPy", speech, ours)
        agree(f"{group}: states", states, np.stack([hidden, cell], 1), 1e-4)
        if group == "released":
            agree("released: sequence model and NumPy", at_once(models / "silero_vad_16k_sequence.onnx", sound), ours)
        golden |= {
            f"{group}.speech": speech,
            f"{group}.hidden": states[-1, 0].copy(), f"{group}.cell": states[-1, 1].copy(),
            f"{group}.context": sound[-1, -CONTEXT:].copy(),
        }
    save_file(golden, HERE / "golden.safetensors")


if __name__ == "__main__":
    main()
