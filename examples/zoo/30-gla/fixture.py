"""Golden values of GLA: python fixture.py     (pip install numpy safetensors)

The recurrent form in NumPy, in float64 on float32 weights and inputs, step by step and head by head. The parallel and
the chunkwise form, written out from the equations of the paper, must agree with it.
"""
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
D, H, K, V, R, C, M, LAYERS, WORDS, E, SHARE = 16, 2, 4, 8, 4, 4, 256, 2, 50, 2, 2
EPS = 1e-5


# ---- the network

def sub(w, name):
    return {key[len(name) + 1:]: value for key, value in w.items() if key.startswith(name + ".")}


def swish(x):
    return x / (1 + np.exp(-x))


def rmsnorm(x, scale):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + EPS) * scale


def log_sigmoid(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def recurrent(q, k, v, la, s0):
    """One head of one text. q, k, la: [t, k]; v: [t, v]; s0: [k, v]."""
    o, s = np.zeros_like(v), s0.copy()
    for t in range(len(q)):
        s = np.exp(la[t])[:, None] * s + np.outer(k[t], v[t])
        o[t] = K**-0.5 * q[t] @ s
    return o, s


def layer(w, x, s0, tau, form=recurrent):
    """x: [b, t, d], s0: [b, head, k, v]."""
    def heads(y, width):
        return y.reshape(*y.shape[:2], H, width)

    def flat(name):
        return w[name].reshape(w[name].shape[0], -1)

    q, k, v, g = (heads(x @ flat(name), width) for name, width in (("wq", K), ("wk", K), ("wv", V), ("wg", V)))
    la = log_sigmoid(heads(x @ w["wa1"] @ flat("wa2"), K) + w["ba"]) / tau
    o, s = np.zeros_like(v), np.zeros_like(s0)
    for b in range(len(x)):
        for h in range(H):
            o[b, :, h], s[b, h] = form(q[b, :, h], k[b, :, h], v[b, :, h], la[b, :, h], s0[b, h])
    y = rmsnorm(o, w["norm"]) * swish(g)
    return y.reshape(*x.shape[:2], H * V) @ w["wo"].reshape(H * V, D), s


def grouped(w, x, before, s0, tau, least):
    """The layer with heads of queries that share keys, short convolutions, relu as the map, and bounded decays. s0: [b, head, share, k, v]."""
    long, y, s = np.concatenate([before, x], 1), np.zeros_like(x), np.zeros_like(s0)
    la = np.maximum(log_sigmoid(np.einsum("btr,rhk->bthk", x @ w["wa1"], w["wa2"]) + w["ba"]) / tau, least)

    def short(z, kernel):
        """z: [t + 3, channels], kernel: [channels, 4]."""
        out = np.array([sum(kernel[:, j] * z[t + j] for j in range(4)) for t in range(len(z) - 3)]).reshape(-1, z.shape[1])
        return swish(out)

    for b in range(len(x)):
        for h in range(H):
            k = np.maximum(short(long[b] @ w["wk"][:, h], w["ck"][h]), 0)
            v = short(long[b] @ w["wv"][:, h], w["cv"][h])
            for n in range(SHARE):
                q = np.maximum(short(long[b] @ w["wq"][:, h, n], w["cq"][h, n]), 0)
                o, s[b, h, n] = recurrent(q, k, v, la[b, :, h], s0[b, h, n])
                y[b] += (rmsnorm(o, w["norm"]) * swish(x[b] @ w["wg"][:, h, n])) @ w["wo"][h, n]
    return y, long[:, -3:], s


def read(w, ids, memory):
    """ids: [b, t], memory: [layer, b, head, k, v]."""
    x, memory = w["embed"][ids], memory.copy()
    for i in range(LAYERS):
        mix, mlp = ({name: value[i] for name, value in sub(w, part).items()} for part in ("gla", "mlp"))
        y, memory[i] = layer(mix, rmsnorm(x, w["norm1"][i]), memory[i], 16)
        x = x + y
        z = rmsnorm(x, w["norm2"][i])
        x = x + (swish(z @ mlp["gate"]) * (z @ mlp["up"])) @ mlp["down"]
    return rmsnorm(x, w["norm"]) @ w["embed"].T, memory


# Weights and golden values.

def parallel(q, k, v, la, s0):
    scale, g = K**-0.5, np.cumsum(la, 0)
    p = np.zeros((len(q), len(q)))
    for i in range(len(q)):
        for j in range(i + 1):
            p[i, j] = scale * np.sum(q[i] * k[j] * np.exp(g[i] - g[j]))
    o = p @ v + scale * (q * np.exp(g)) @ s0
    end = g[-1] if len(g) else np.zeros(K)
    return o, np.exp(end)[:, None] * s0 + (k * np.exp(end - g)).T @ v


def chunkwise(q, k, v, la, s0):
    o, s = np.zeros_like(v), s0
    for at in range(0, len(q), C):
        part = slice(at, at + C)
        o[part], s = parallel(q[part], k[part], v[part], la[part], s)
    return o, s


def two_levels(q, k, v, la, s):
    """Chunks of C steps in parts of E; of two parts the first step of the later one is where their decay splits."""
    o, scale = np.zeros_like(v), K**-0.5
    for at in range(0, len(q), C):
        one = slice(at, at + C)
        qc, kc, vc, g = q[one], k[one], v[one], np.cumsum(la[one], 0)
        p = np.zeros((len(qc), len(qc)))
        for i in range(0, len(qc), E):
            I, n = slice(i, i + E), g[i]
            for j in range(0, i, E):
                J = slice(j, j + E)
                p[I, J] = scale * (qc[I] * np.exp(g[I] - n)) @ (kc[J] * np.exp(n - g[J])).T
            for a in range(i, min(i + E, len(qc))):
                for b in range(i, a + 1):
                    p[a, b] = scale * np.sum(qc[a] * kc[b] * np.exp(g[a] - g[b]))
        o[one] = p @ vc + scale * (qc * np.exp(g)) @ s
        s = np.exp(g[-1])[:, None] * s + (kc * np.exp(g[-1] - g)).T @ vc
    return o, s


def make_grouped(random):
    def normal(fan_in, *shape):
        return (random.standard_normal(shape) * fan_in**-0.5).astype(np.float32)

    return {
        "grouped.wq": normal(D, D, H, SHARE, K), "grouped.wk": normal(D, D, H, K), "grouped.wv": normal(D, D, H, V),
        "grouped.wg": normal(D, D, H, SHARE, V), "grouped.cq": normal(4, H, SHARE, K, 4), "grouped.ck": normal(4, H, K, 4),
        "grouped.cv": normal(4, H, V, 4), "grouped.wa1": normal(D, D, R), "grouped.wa2": normal(R, R, H, K),
        "grouped.ba": normal(4, H, K), "grouped.norm": 1 + normal(25, V),
        "grouped.wo": normal(H * SHARE * V, H, SHARE, V, D),
    }


def make_weights(random):
    def normal(fan_in, *shape):
        return random.standard_normal(shape) * fan_in**-0.5

    def mix(*layers):
        return {
            "wq": normal(D, *layers, D, H, K), "wk": normal(D, *layers, D, H, K),
            "wv": normal(D, *layers, D, H, V), "wg": normal(D, *layers, D, H, V),
            "wa1": normal(D, *layers, D, R), "wa2": normal(R, *layers, R, H, K), "ba": normal(4, *layers, H, K),
            "norm": 1 + normal(25, *layers, V), "wo": normal(H * V, *layers, H, V, D),
        }

    w = {f"one.{name}": value for name, value in mix().items()}
    w |= {f"gla.{name}": value for name, value in mix(LAYERS).items()}
    w |= {
        "embed": normal(1, WORDS, D), "norm": 1 + normal(25, D),
        "norm1": 1 + normal(25, LAYERS, D), "norm2": 1 + normal(25, LAYERS, D),
        "mlp.gate": normal(D, LAYERS, D, M), "mlp.up": normal(D, LAYERS, D, M), "mlp.down": normal(M, LAYERS, M, D),
    }
    return {name: value.astype(np.float32) for name, value in w.items()}


def main():
    random = np.random.default_rng(30)
    weights = make_weights(random)
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    golden = {}

    def float32(*shape):
        return random.standard_normal(shape).astype(np.float32)

    def keep(run, **values):
        for name, value in values.items():
            kind = np.int32 if name == "ids" else np.float32
            golden[f"{run}.{name}"] = np.array(value, dtype=kind, order="C")

    def layer_run(run, x, tau, s0):
        given = [x.astype(np.float64), s0.astype(np.float64), np.float64(np.float32(tau))]
        y, s = layer(sub(w, "one"), *given)
        for form in (parallel, chunkwise, two_levels):
            for ours, other in zip((y, s), layer(sub(w, "one"), *given, form=form)):
                assert np.abs(ours - other).max(initial=0) < 1e-12
        keep(run, x=x, tau=tau, s0=s0, y=y, s=s)
        return y, s

    for t, b in ((12, 2), (13, 2), (1, 1), (67, 3), (0, 2)):
        layer_run(f"t{t}b{b}", float32(b, t, D), 16, float32(b, H, K, V))
    for run, t in (("fast", 13), ("fast67", 67)):  # decays down to exp(-10) and less
        layer_run(run, float32(2, t, D), 0.1, float32(2, H, K, V))
    for run, tau in (("chunks", 16), ("fast_chunks", 0.1)):  # the same steps, three chunks of four
        x, s0 = float32(2, 12, D), float32(2, H, K, V)
        y, s = layer_run(run, x, tau, s0)
        keep(run, x=x.reshape(2, 3, C, D), y=y.reshape(2, 3, C, D))
    # Thirteen steps in two calls: the second starts from what the first left.
    x, s0 = float32(2, 13, D), np.zeros((2, H, K, V), np.float32)
    y, s = layer(sub(w, "one"), x.astype(np.float64), s0.astype(np.float64), 16)
    first = layer_run("first", x[:, :5], 16, s0)
    second = layer_run("second", x[:, 5:], 16, first[1].astype(np.float32))
    assert np.abs(np.concatenate([first[0], second[0]], 1) - y).max() < 1e-6 and np.abs(second[1] - s).max() < 1e-6

    # The language model: a text at once, in two calls and word by word.
    ids = random.integers(0, WORDS, (3, 12))
    empty = np.zeros((LAYERS, 3, H, K, V))
    logits, memory = read(w, ids, empty)
    keep("whole", ids=ids, logits=logits, memory=memory)
    for run, length in (("halves", 6), ("words", 1)):
        calls, made, memory = ids.reshape(3, -1, length).swapaxes(0, 1), [], empty
        for call in calls:
            part, memory = read(w, call, memory)
            made.append(part)
        assert np.abs(np.concatenate(made, 1) - logits).max() < 1e-12
        keep(run, ids=calls, logits=np.stack(made), memory=memory)
    one = random.integers(0, WORDS, (1, 1))
    keep("one", ids=one, logits=read(w, one, empty[:, :1])[0])

    more = make_grouped(random)
    save_file(weights, HERE / "weights.safetensors")
    options, own = HERE.parent / "30-gla-options", {n: v for n, v in weights.items() if n.startswith("one.")}
    save_file(own | more, options / "weights.safetensors")
    w = {name: value.astype(np.float64) for name, value in sub(more, "grouped").items()}
    for run, t, tau, least in (("grouped", 9, 16, -np.inf), ("clamped", 9, 0.1, -1.5), ("grouped_first", 5, 16, -np.inf)):
        x, before, s0 = float32(2, t, D), float32(2, 3, D), float32(2, H, SHARE, K, V)
        given = [z.astype(np.float64) for z in (x, before, s0)]
        y, after, s = grouped(w, *given, np.float64(np.float32(tau)), least)
        keep(run, x=x, before=before, s0=s0, tau=tau, least=least, y=y, after=after, s=s)
    # The four steps after those.
    x = float32(2, 4, D)
    y, later, end = grouped(w, x.astype(np.float64), after, s, 16, -np.inf)
    keep("grouped_second", x=x, before=after, s0=s, tau=16, least=-np.inf, y=y, after=later, s=end)
    only, both = ("grouped", "clamped"), ("chunks", "fast_chunks")
    save_file({n: v for n, v in golden.items() if not n.startswith(only)}, HERE / "golden.safetensors")
    save_file({n: v for n, v in golden.items() if n.startswith(only + both)}, options / "golden.safetensors")


MEDIUM = {"D": 256, "H": 4, "K": 32, "V": 64, "R": 16, "M": 768, "WORDS": 1000}


def medium():
    """Two layers on 128 words, in chunks of 32."""
    import torch
    import torch.nn.functional as F

    random = np.random.default_rng(30)

    def norm(x, scale):
        return F.rms_norm(x, x.shape[-1:], scale, EPS)

    def layer(w, x):
        q, k, v, g = (torch.einsum("btd,dhk->bhtk", x, w[name]) for name in ("wq", "wk", "wv", "wg"))
        la = F.logsigmoid(torch.einsum("btr,rhk->bhtk", x @ w["wa1"], w["wa2"]) + w["ba"][:, None]) / 16
        s, out, early = torch.zeros(len(x), H, K, V, dtype=x.dtype), [], torch.ones(32, 32, dtype=torch.bool).tril()[..., None]
        for qc, kc, vc, lc in zip(*(y.split(32, 2) for y in (K**-0.5 * q, k, v, la))):
            a = lc.cumsum(2)
            decay = torch.exp((a[:, :, :, None] - a[:, :, None]).masked_fill(~early, -torch.inf))
            p = torch.einsum("bhik,bhjk,bhijk->bhij", qc, kc, decay)
            out.append((qc * a.exp()) @ s + p @ vc)
            s = a[:, :, -1, :, None].exp() * s + (kc * (a[:, :, -1:] - a).exp()).mT @ vc
        y = norm(torch.cat(out, 2), w["norm"]) * F.silu(g)
        return torch.einsum("bhtv,hvd->btd", y, w["wo"])

    def network(w, x):
        x = w["embed"][x["ids"]]
        for i in range(LAYERS):
            mix, mlp = ({name: value[i] for name, value in sub(w, part).items()} for part in ("gla", "mlp"))
            x = x + layer(mix, norm(x, w["norm1"][i]))
            z = norm(x, w["norm2"][i])
            x = x + (F.silu(z @ mlp["gate"]) * (z @ mlp["up"])) @ mlp["down"]
        return {"logits": norm(x, w["norm"]) @ w["embed"].T}

    return {
        "entry": "read", "weights": {name: torch.tensor(value) for name, value in make_weights(random).items()},
        "inputs": {"ids": torch.tensor(random.integers(0, WORDS, (1, 128)))}, "network": network,
        "axes": {"d": D, "head": H, "k": K, "v": V, "r": R, "layer": LAYERS, "word": WORDS},
    }


if __name__ == "__main__":
    main()
