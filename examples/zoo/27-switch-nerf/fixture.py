"""Golden values of Switch-NeRF++: python fixture.py     (pip install torch numpy safetensors)

NumPy in float64 on float32 weights and inputs, point by point; the hash in uint32, with its exclusive or.
"""
import math
import pathlib

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
E, LEVELS, SLOTS, FEATURES, HIDDEN, D, H1, H2, PHOTOS, A = 3, 3, 64, 2, 64, 8, 16, 16, 5, 4
GATE_RANGE, RANGES = (4, 16), [(2, 8), (4, 16), (8, 64)]
NEAR = 1e-4  # how far from the border of a cell a point must be, if not on it; and how clear its choice


def relu(x):
    return np.maximum(x, 0)


def resolutions(least, most, levels=LEVELS):
    b = math.exp((math.log(most) - math.log(least)) / (levels - 1))
    return [math.floor(least * b**level + 1e-6) for level in range(levels)]


def slot(v, cells, slots=SLOTS):
    if (cells + 1) ** 3 <= slots:
        return v[0] + v[1] * (cells + 1) + v[2] * (cells + 1) ** 2
    with np.errstate(over="ignore"):
        x, y, z = (np.uint32(c) * np.uint32(prime) for c, prime in zip(v, (1, 2654435761, 805459861)))
    return int((x ^ y ^ z) % np.uint32(slots))


def encode(table, range_, x):
    """One point, x: [3]."""
    out = []
    for level, cells in enumerate(resolutions(*range_)):
        q = x * cells
        i = np.minimum(np.floor(q).astype(int), cells - 1)
        r = q - i
        y = np.zeros(FEATURES)
        for c in np.ndindex(2, 2, 2):
            weight = np.prod([r[n] if c[n] else 1 - r[n] for n in range(3)])
            y += weight * table[level, slot([int(a + b) for a, b in zip(i, c)], cells)]
        out.append(y)
    return np.concatenate(out)


def mlp(w, x):
    return relu(x @ w["up"] + w["up_bias"]) @ w["down"] + w["down_bias"]


def under(w, name):
    return {key[len(name) + 1:]: value for key, value in w.items() if key.startswith(name + ".")}


def gates(w, p):
    w = under(w, "choose")
    logits = np.array([mlp(w, encode(w["encode.table"], GATE_RANGE, x)) for x in p]).reshape(-1, E)
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def answers(w, p, g):
    w = under(w, "answer.expert")
    out = np.zeros((len(p), D))
    for n, x in enumerate(p):
        e = int(np.argmax(g[n]))
        own = {name: value[e] for name, value in w.items()}
        out[n] = g[n, e] * mlp(own, encode(own["encode.table"], RANGES[e], x))
    return out


def head(w, z, direction, photo):
    w = under(w, "tell")
    y = relu(z)
    sigma = np.logaddexp(0, y @ w["density"] + w["density_bias"] - 1)
    waves = [direction]
    for octave in (1, 2, 4, 8):
        waves += [np.sin(octave * direction), np.cos(octave * direction)]
    h = relu(np.concatenate([y @ w["w1"] + w["b1"], *waves, w["appearance"][photo]], -1) @ w["w2"] + w["b2"])
    return sigma, 1 / (1 + np.exp(-(h @ w["w3"] + w["b3"])))


def balance(g):
    experts = g.shape[1]
    count = np.bincount(g.argmax(1), minlength=experts)
    return experts * (g.sum(0) * count).sum() / len(g) ** 2


def capped(g, factor):
    """Which points are kept: the surest first."""
    capacity, taken, kept = int(factor * math.ceil(len(g) / E)), [0] * E, np.zeros(len(g), bool)
    for n in sorted(range(len(g)), key=lambda n: (-g[n].max(), n)):
        e = int(np.argmax(g[n]))
        kept[n] = taken[e] < capacity
        taken[e] += 1
    return kept


def render(w, origin, direction, t, photo):
    rays, samples = t.shape
    p = (origin[:, None] + t[..., None] * direction[:, None]).reshape(-1, 3)
    z = answers(w, p, gates(w, p))
    sigma, rgb = head(w, z, np.repeat(direction, samples, 0), np.repeat(photo, samples))
    sigma, rgb = sigma.reshape(rays, samples), rgb.reshape(rays, samples, 3)
    weight = np.zeros_like(t)
    for ray in range(rays):
        passed = 1.0
        for k in range(samples):
            delta = t[ray, k + 1] - t[ray, k] if k + 1 < samples else 1e10
            alpha = 1 - np.exp(-delta * sigma[ray, k])
            weight[ray, k] = alpha * passed
            passed *= 1 - alpha + 1e-8
    return (weight[..., None] * rgb).sum(1), (weight * t).sum(1), weight, p


def finer(t, weight, u):
    out = []
    for depths, w, draws in zip(t, weight, u):
        middle = (depths[1:] + depths[:-1]) / 2
        pdf = (w[1:-1] + 1e-8) / (w[1:-1] + 1e-8).sum()
        cdf = np.concatenate([[0], np.cumsum(pdf)])
        new = []
        for x in draws:
            n = np.searchsorted(cdf, x, side="right")
            low, high = max(n - 1, 0), min(n, len(cdf) - 1)
            inside = (x - cdf[low]) / (cdf[high] - cdf[low]) if high > low else 0
            new.append(middle[low] + inside * (middle[high] - middle[low]))
        out.append(np.sort(np.concatenate([depths, new])))
    return np.array(out)


# Weights and golden values.


def weights(random):
    w = {}

    def linear(name, suffix, i, o, *more):
        w[f"{name}{suffix[0]}"] = random.uniform(-1, 1, (*more, i, o)) * (6 / i) ** 0.5
        w[f"{name}{suffix[1]}"] = 0.2 * random.standard_normal((*more, o))

    for name, more, out in (("choose.", (), E), ("answer.expert.", (E,), D)):
        linear(name, ("up", "up_bias"), LEVELS * FEATURES, HIDDEN, *more)
        linear(name, ("down", "down_bias"), HIDDEN, out, *more)
        w[f"{name}encode.table"] = random.uniform(-1, 1, (*more, LEVELS, SLOTS, FEATURES))
    w["choose.down"] *= 0.6  # gates that are not all close to 1
    w["tell.density"], w["tell.density_bias"] = random.standard_normal(D), np.array(0.5)
    linear("tell.", ("w1", "b1"), D, H1)
    w["tell.appearance"] = random.standard_normal((PHOTOS, A))
    linear("tell.", ("w2", "b2"), H1 + 27 + A, H2)
    linear("tell.", ("w3", "b3"), H2, 3)
    # Each expert is the best of some points.
    w["choose.down_bias"] -= np.log(gates(w, random.random((200, 3)))).mean(0)
    return {name: value.astype(np.float32) for name, value in w.items()}


def safe(w, p):
    """Whether rounding can neither move the point to another cell nor to another expert."""
    for range_ in (GATE_RANGE, *RANGES):
        for cells in resolutions(*range_):
            off = np.abs(p * cells - np.round(p * cells))
            if ((off < NEAR) & (off > 0)).any():
                return False
    g = np.sort(gates(w, p[None])[0])
    return g[-1] - g[-2] > NEAR


def directions(random, count):
    v = random.standard_normal((count, 3))
    return (v / np.sqrt((v * v).sum(1, keepdims=True))).astype(np.float32)


def main():
    assert [slot(v, 63) for v in ((3, 5, 7), (1, 2, 3), (511, 17, 256))] == [37, 28, 62]
    assert [slot(v, 511, 2**19) for v in ((3, 5, 7), (1, 2, 3), (511, 17, 256))] == [329061, 128476, 32830]
    assert resolutions(16, 512, 8) == [16, 26, 43, 70, 115, 190, 312, 512] and resolutions(8, 64) == [8, 22, 64]
    assert abs(balance(np.array([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])) - 1.0) < 1e-12
    random = np.random.default_rng(27)
    w = weights(random)
    wide = {name: value.astype(float) for name, value in w.items()}
    # All gates are equal: a tie of all experts, which the first wins.
    tie = dict(w) | {"choose.down": w["choose.down"] * 0, "choose.down_bias": w["choose.down_bias"] * 0}
    golden = {}

    def add(prefix, **values):
        for name, value in values.items():
            value = np.asarray(value)
            golden[f"{prefix}.{name}"] = value.astype(np.int32 if value.dtype == np.int32 else np.float32)

    def points(prefix, w, p, factor):
        p = np.array(p, np.float32).reshape(-1, 3)
        n = len(p)
        direction, photo = directions(random, n), random.integers(0, PHOTOS, n).astype(np.int32)
        g = gates(w, p.astype(float))
        z = answers(w, p.astype(float), g)
        sigma, rgb = head(w, z, direction.astype(float), photo)
        add(prefix, p=p, direction=direction, photo=photo)
        add(prefix, g=g, chosen=g.argmax(1).astype(np.int32), sigma=sigma, rgb=rgb, aux=balance(g))
        kept = capped(g, factor)
        sigma, rgb = head(w, z * kept[:, None], direction.astype(float), photo)
        add(f"{prefix}_capped", p=p, direction=direction, photo=photo, factor=factor, sigma=sigma, rgb=rgb)
        add(f"{prefix}_capped", kept=kept.astype(np.int32))
        return g, kept

    def some(count):
        found = []
        while len(found) < count:
            p = random.random(3).astype(np.float32)
            if safe(wide, p.astype(float)):
                found.append(p)
        return found

    border = [p for p in ([0.5, 0.25, 0.75], [1, 1, 1], [0.125, 0.5, 1]) if safe(wide, np.array(p, float))]
    g, kept = points("n20", wide, border + some(20 - len(border)), 0.5)
    assert len(border) == 3 and len(set(g.argmax(1))) == E and 0 < kept.sum() < 20, (len(border), g.argmax(1), kept)
    sure = np.sort(g.max(1))
    assert (sure[1:] - sure[:-1]).min() > 1e-5
    points("n1", wide, some(1), 1.0)
    points("tie", {name: value.astype(float) for name, value in tie.items()}, some(5), 1.0)
    for name, rays, samples, new in (("r4", 4, 6, 8), ("r1", 1, 3, 5)):
        t = np.sort(random.uniform(0.1, 0.8, (rays, samples)), 1).astype(np.float32)
        while True:
            origin, direction = random.uniform(0.3, 0.7, (rays, 3)).astype(np.float32), directions(random, rays) / 2
            photo = random.integers(0, PHOTOS, rays).astype(np.int32)
            args = [x.astype(float) for x in (origin, direction, t)]
            rgb, depth, weight, p = render(wide, *args, photo)
            if p.min() >= 0 and p.max() < 1 and all(safe(wide, x) for x in p):
                break
        add(name, origin=origin, direction=direction, t=t, photo=photo, rgb=rgb, depth=depth, weight=weight)
        u = np.stack([np.linspace(0, 1, new), *random.random((rays - 1, new))][:rays]).astype(np.float32)
        weight = weight.astype(np.float32)
        depths = finer(t.astype(float), weight.astype(float), u.astype(float))
        add(f"{name}_finer", t=t, weight=weight, u=u, depths=depths)
    save_file(w, HERE / "weights.safetensors")
    save_file(tie, HERE / "tie.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 64, "H1": 64, "H2": 64}


def medium():
    """2,048 points at width 64; each expert looks at its points at once."""
    import torch

    random = np.random.default_rng(27)
    w = {name: torch.tensor(value) for name, value in weights(random).items()}
    n, corner = 2048, torch.tensor(list(np.ndindex(2, 2, 2)))
    inputs = {"p": torch.tensor(random.random((n, 3)).astype(np.float32)), "direction": torch.tensor(directions(random, n)),
              "photo": torch.tensor(random.integers(0, PHOTOS, n))}

    def encoded(table, range_, x):
        out = []
        for level, cells in enumerate(resolutions(*range_)):
            q = x * cells
            i = q.floor().clamp(max=cells - 1).long()
            r, v = (q - i)[:, None], i[:, None] + corner
            weight = torch.where(corner == 1, r, 1 - r).prod(-1)
            if (cells + 1) ** 3 <= SLOTS:
                at = v[..., 0] + v[..., 1] * (cells + 1) + v[..., 2] * (cells + 1) ** 2
            else:
                h = v * torch.tensor([1, 2654435761, 805459861]) & 0xFFFFFFFF
                at = (h[..., 0] ^ h[..., 1] ^ h[..., 2]) % SLOTS
            out.append((weight[..., None] * table[level, at]).sum(1))
        return torch.cat(out, -1)

    def small(w, x):
        return torch.relu(x @ w["up"] + w["up_bias"]) @ w["down"] + w["down_bias"]

    def network(w, x):
        p, own = x["p"], under(w, "choose")
        g = torch.softmax(small(own, encoded(own["encode.table"], GATE_RANGE, p)), -1)
        chosen, z = g.argmax(-1), torch.zeros(n, D, dtype=p.dtype)
        for e in range(E):
            rows = chosen == e
            own = {name: value[e] for name, value in under(w, "answer.expert").items()}
            z[rows] = g[rows, e, None] * small(own, encoded(own["encode.table"], RANGES[e], p[rows]))
        own, y = under(w, "tell"), torch.relu(z)
        sigma = torch.nn.functional.softplus(y @ own["density"] + own["density_bias"] - 1)
        waves = [x["direction"]]
        for octave in (1, 2, 4, 8):
            waves += [torch.sin(octave * x["direction"]), torch.cos(octave * x["direction"])]
        h = torch.cat([y @ own["w1"] + own["b1"], *waves, own["appearance"][x["photo"]]], -1)
        rgb = torch.sigmoid(torch.relu(h @ own["w2"] + own["b2"]) @ own["w3"] + own["b3"])
        aux = E * (g.sum(0) * torch.bincount(chosen, minlength=E)).sum() / n**2
        return {"g": g, "chosen": chosen, "sigma": sigma, "rgb": rgb, "aux": aux}

    axes = {"d": D, "h1": H1, "h2": H2}
    return {"entry": "points", "weights": w, "inputs": inputs, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
