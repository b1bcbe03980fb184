"""Golden files of the programs beside this script, in NumPy alone and float64: what the language means, written a second time.

    python golden.py            # writes NAME.safetensors beside NAME.gate
"""

import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).parent
rng = np.random.default_rng(7)


def rand(*shape):
    return np.round(rng.uniform(-1.5, 1.5, shape), 3)


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def best(x, k):
    """Indices of the k largest, ties to the lower index."""
    return np.argsort(-x, axis=-1, kind="stable")[..., :k]


def at(x, index):
    return np.take_along_axis(x, index, -1)


def routed(x, index, expert):
    """expert(e, row) for each row and each of its experts: [rows, slots, ..]."""
    return np.stack([[expert(e, row) for e in chosen] for row, chosen in zip(x, index)])


def write(name, tensors, of_64_bits={}):
    def stored(x):
        return np.ascontiguousarray(x, dtype=np.int32 if x.dtype == np.int64 else x.dtype).reshape(x.shape)

    path = HERE / f"{name}.safetensors"
    save_file({key: stored(x) for key, x in tensors.items()} | of_64_bits, path)
    path.chmod(0o644)


def route_topk():
    t, d, e = 7, 5, 6
    x, bias = rand(t, d), rand(e)
    router, w, u, v = rand(d, e), rand(e, d, d), rand(e, d, d), rand(e, d, d)
    score = softmax(x @ router)
    index = best(score, 2)
    weight = at(score, index)
    normal_weight = weight / weight.sum(-1, keepdims=True)
    plain = (weight[..., None] * routed(x, index, lambda _, row: row @ w[0] * d)).sum(1)
    normal = (normal_weight[..., None] * routed(x, index, lambda i, row: row @ u[i])).sum(1)
    # The bias chooses, the score weighs.
    chosen = best(score + bias, 2)
    by_bias = at(score, chosen)
    by_bias = by_bias / by_bias.sum(-1, keepdims=True)
    biased = (by_bias[..., None] * routed(x, chosen, lambda i, row: np.tanh(row @ v[i]))).sum(1)
    load = np.bincount(chosen.ravel(), minlength=e).astype(float)
    importance = np.bincount(chosen.ravel(), by_bias.ravel(), minlength=e)
    write("route-topk", {
        "in.x": x, "in.bias": bias, "router": router, "w": w, "u": u, "v": v, "out.plain": plain, "out.normal": normal,
        "out.biased": biased, "out.weight": by_bias, "out.index": chosen, "out.load": load, "out.importance": importance,
    })


def route_groups():
    t, d, h, e, groups = 9, 5, 3, 12, 4
    x, router, bias = rand(t, d), rand(e, d), rand(e)
    up, down = rand(e, h, d), rand(e, d, h)
    score = sigmoid(x @ router.T)

    def choose(score, count):
        """DeepSeek-V3: a group counts as the sum of its `count` best; experts outside of the 2 best groups are out."""
        by_group = score.reshape(t, groups, -1)
        worth = np.sort(by_group, -1)[..., -count:].sum(-1)
        out = np.full(score.shape, -np.inf).reshape(by_group.shape)
        for row in range(t):
            for group in best(worth[row], 2):
                out[row, group] = by_group[row, group]
        return best(out.reshape(score.shape), 3)

    index = choose(score + bias, 2)
    weight = at(score, index)
    weight = weight / weight.sum(-1, keepdims=True)
    y = (weight[..., None] * routed(x, index, lambda i, row: down[i] @ np.maximum(up[i] @ row, 0))).sum(1)
    write("route-groups", {
        "in.x": x, "router": router, "bias": bias, "up": up, "down": down, "out.y": y, "out.index": index, "out.weight": weight,
        "out.by_best": choose(score, 1),
    })


def route_policies():
    t, d, e = 8, 4, 3
    x, router, w = rand(t, d), rand(e, d), rand(d, d)
    u, u2, u3, u4 = (rand(e, d, d) for _ in range(4))
    score = softmax(x @ router.T)
    index = best(score, 1)
    every = np.tile(np.arange(e), (t, 1))
    write("route-policies", {
        "in.x": x, "router": router, "w": w, "u": u, "u2": u2, "u3": u3, "u4": u4,
        "out.one": routed(x, index, lambda i, row: row @ u[i])[:, 0],
        "out.scaled": at(score, index) * routed(x, index, lambda i, row: row @ u2[i])[:, 0],
        "out.every": (score[..., None] * routed(x, every, lambda i, row: np.tanh(row @ u3[i]))).sum(1),
        "out.dense": routed(x, every, lambda i, row: row @ u4[i] + row @ w).mean(1),
        "out.load": np.full(e, float(t)),
        "out.importance": score.sum(0),
        "out.chosen": np.bincount(index.ravel(), minlength=e).astype(float),
    })


def route_mixes():
    t, d, e = 6, 4, 5
    x, router = rand(t, d), rand(e, d)
    a, b, c, f, g, i = (rand(e, d, d) for _ in range(6))
    index = best(x @ router.T, 2)
    every = np.tile(np.arange(e), (t, 1))
    by = lambda w, index=index: routed(x, index, lambda n, row: row @ w[n])
    write("route-mixes", {
        "in.x": x, "router": router, "a": a, "b": b, "c": c, "f": f, "g": g, "i": i,
        "out.mean": by(a).mean(1), "out.max": by(b).max(1), "out.lse": np.log(np.exp(by(c)).sum(1)),
        "out.joined": by(f).reshape(t, -1), "out.first": by(g)[:, 0], "out.every": by(i, every).reshape(t, -1),
    })


def limited(index, weight, most, e):
    """First choices before second ones, rows in order: an expert takes the first `most`, the others get index -1."""
    taken, index, weight = [0] * e, index.copy(), weight.copy()
    for slot in range(index.shape[1]):
        for row in range(len(index)):
            expert = index[row, slot]
            taken[expert] += 1
            if taken[expert] > most:
                index[row, slot], weight[row, slot] = -1, 0
    return index, weight


def route_drops():
    t, b, d, e = 12, 2, 4, 3
    x, y, router = rand(t, d), rand(b, t, d), rand(e, d)
    names = ["u", "bias", "u2", "u3", "b3", "u4", "u5", "b5", "u6", "b6", "u7"]
    p = {name: rand(e, d, d) if name.startswith("u") else rand(e, d) for name in names}
    z = x @ router.T
    every = sigmoid(np.einsum("td,edk->tek", x, p["u"]) + p["bias"])
    near = every[np.arange(t), z.argmin(-1)]
    far = np.einsum("td,tdk->tk", x, p["u2"][z.argmax(-1)])
    score = sigmoid(z)
    above = np.where(score > 0.5, score, 0)
    some = (above[..., None] * sigmoid(np.einsum("td,edk->tek", x, p["u3"]) + p["b3"])).sum(1)
    given = np.einsum("td,tdk->tk", x, p["u4"][np.arange(t) % 3])
    one, weight = limited(best(softmax(z), 1), np.sort(softmax(z))[:, -1:], int(np.ceil(t / e)), e)
    assert (one < 0).any() and (one >= 0).any()
    kept = np.where(one < 0, x, weight * np.exp(np.einsum("td,tdk->tk", x, p["u5"][one[:, 0]]) + p["b5"][one[:, 0]]))
    # The file names `t` before `b`: rows stand in that order.
    rows = y.transpose(1, 0, 2).reshape(-1, d)

    def back(rows):
        return rows.reshape(t, b, -1).transpose(1, 0, 2)

    prob = softmax(rows @ router.T)
    index = best(prob, 2)
    weight = at(prob, index)
    two, share = limited(index, weight / weight.sum(-1, keepdims=True), int(np.ceil(0.75 * 2 * len(rows) / e)), e)
    mixed = (share[..., None] * routed(rows, two, lambda i, row: np.tanh(row @ p["u6"][i] + p["b6"][i]))).sum(1)
    first, share_of_first = limited(index, weight, 2, e)
    few = (share_of_first[..., None] * routed(rows, first, lambda i, row: np.maximum(row @ p["u7"][i], 0) + row)).sum(1)
    few = np.where((first < 0).all(-1, keepdims=True), rows * 2, few)
    write("route-drops", {
        "in.x": x, "in.y": y, "router": router, **p, "out.near": near, "out.far": far, "out.some": some,
        "out.load": (score > 0.5).sum(0).astype(float), "out.given": given, "out.kept": kept, "out.chosen": one,
        "out.two": back(mixed), "out.index": back(two), "out.weight": back(share), "out.few": back(few),
    })


def from_names():
    t, d, head, k, e = 4, 4, 2, 2, 3
    x, first, router, o = rand(t, d), rand(d, d), rand(e, d), rand(d, 2, head * k)
    qk = [rand(head * k, d, 1) for _ in range(2)]
    g = [[rand(d) for _ in range(2)] for _ in range(2)]
    experts = [rand(1, d, 1, d) for _ in range(e)]
    y = np.tanh(x @ first.T)
    for layer in range(2):
        z = (y * g[layer][0]) @ qk[layer][:, :, 0].T
        y = y + (z @ o[:, layer].T) * g[layer][1]
    score = y @ router.T
    y = sum(score[:, i, None] * (y @ experts[i][0, :, 0].T) for i in range(e))
    tensors = {"in.x": x, "model.layers.0.w": first, "router.weight": router, "o": o, "out.y": y}
    for layer in range(2):
        tensors[f"model.layers.{layer + 1}.qk"] = qk[layer]
        for gate in range(2):
            tensors[f"gates.{gate + 3}.of.{layer + 1}"] = g[layer][gate]
    for i in range(e):
        tensors[f"experts.{i}.w1.weight"] = experts[i]
    write("from-names", tensors)


def brackets():
    t, d, n = 5, 6, 4
    x, idx, where = rand(t, d), rng.integers(0, d, n), rng.integers(0, d, t)
    split = x.reshape(t, 2, 3)
    before = np.concatenate([np.full((1, d), 0.5), x[:-1]])
    after = np.concatenate([x[2:], np.full((2, d), -1.0)])
    write("brackets", {
        "in.x": x, "in.idx": idx, "in.at": where, "out.split": split.transpose(0, 2, 1),
        "out.merged": split.transpose(0, 2, 1).reshape(t, -1), "out.first": x[:, 0], "out.last": x[:, -1],
        "out.mid": x[:, 1:5], "out.head": x[:, :2], "out.tail": x[2:], "out.back": x[:, -3:-1], "out.nested": x[:, 3],
        "out.gathered": x[:, idx], "out.each": x[np.arange(t), where], "out.before": before, "out.after": after,
    })


def segments():
    n, e, g, d = 7, 11, 2, 5
    x, score = rand(e, d), rand(e)
    # Nodes without edges: 3 and 6.
    to = rng.choice([0, 1, 2, 4, 5], e)
    of = np.array([0, 0, 1, 0, 1, 1, 0])
    fold = lambda f, empty: np.array([f(x[to == i], axis=0) if (to == i).any() else np.full(d, empty) for i in range(n)])
    total = fold(np.sum, 0.0)
    part = np.exp(score - score.max())
    part = part / np.array([part[to == i].sum() for i in range(n)])[to]
    batch, per = rand(2, e, 3), rng.integers(0, n, (2, e))
    batched = np.zeros((2, n, 3))
    for b in range(2):
        np.add.at(batched[b], per[b], batch[b])
    write("segments", {
        "in.x": x, "in.score": score, "in.to": to, "in.of": of, "in.batch": batch, "in.per": per,
        "out.total": total, "out.mean": fold(np.mean, 0.0), "out.most": np.maximum(fold(np.max, -9.0), -9.0),
        "out.product": fold(np.prod, 1.0), "out.degree": np.bincount(to, minlength=n).astype(float), "out.share": part,
        "out.mixed": np.array([(part[:, None] * x)[to == i].sum(axis=0) for i in range(n)]),
        "out.graphs": np.array([total[of == i].sum(axis=0) for i in range(g)]), "out.batched": batched,
    })


def exits():
    t, d, c = 9, 4, 3
    x, w, head = rand(t, d), rand(5, d, d), rand(d, c)

    def leave(sure, otherwise):
        y, at = np.zeros((t, c)), np.full(t, -1)
        for row in range(t):
            h = x[row]
            for layer in range(5):
                h = h + np.tanh(h @ w[layer])
                p = softmax(h @ head)
                if p.max() > sure or (otherwise is None and layer == 4):
                    y[row], at[row] = p, layer
                    break
            else:
                y[row], at[row] = otherwise(h), -1
        return y, at

    first, last = leave(0.8, None), leave(0.9, lambda h: h @ head)
    write("exits", {
        "in.x": x, "w": w, "v": w, "head": head,
        "out.p": first[0], "out.at": first[1], "out.q": last[0], "out.place": last[1],
    })


def scans():
    t, b, d = 5, 3, 3
    x, u = rand(t, b, d), rand(d, d)
    hid, count, y = np.zeros((b, d)), np.ones(b), []
    for step in x:
        hid = np.tanh(step + hid @ u) * count[:, None]
        count = count * 0.5 + 0.25
        y.append(hid)
    total, back = np.full((b, d), 0.5), [None] * t
    for i in reversed(range(t)):
        total = total * 0.5 + x[i]
        back[i] = total
    a, inner = np.zeros(b), []
    for step in x:
        c = np.zeros(b)
        for j in range(d):
            c = c * 0.5 + step[:, j]
        a = a + c
        inner.append(a)
    steps = np.cumsum(x * np.arange(t)[:, None, None], 0)
    write("scans", {
        "in.x": x, "u": u, "out.y": np.stack(y), "out.end": hid * count[:, None], "out.back": np.stack(back),
        "out.each": np.sqrt((x * x).sum(-1)), "out.steps": steps, "out.inner": np.stack(inner),
    })


def repeats():
    t, d, layers = 4, 4, 3
    x, bias = rand(t, d), rand(layers, d)
    one, two, scale = rand(layers, d, d), rand(layers, d, d), rand(2, d)
    plain = x
    for i in range(layers):
        plain = plain + np.tanh(plain @ one[i]) + bias[i]
    headed = x
    for i in range(2):
        headed = headed / np.sqrt((headed ** 2).mean(-1, keepdims=True) + 1e-6) * scale[i]
    end, total, each = x, np.zeros((t, d)), []
    for i in range(layers):
        end = np.tanh(end @ two[i])
        total = total + end
        each.append(end)
    write("repeats", {
        "in.x": x, "in.bias": bias, "one.w": one, "two.w": two, "scale": scale, "out.plain": plain,
        "out.headed": headed.sum(-1), "out.each": np.stack(each), "out.end": end, "out.sum": total,
    })


def nested_loops():
    t, b, d, layers = 4, 2, 3, 3
    x, h0, w, u = rand(t, b, d), rand(layers, b, d), rand(layers, d, d), rand(layers, d, d)
    y, each, end = x, [], []
    for layer in range(layers):
        h, made = h0[layer], []
        for step in y:
            h = np.tanh(step @ w[layer] + (h + h0[layer]) @ u[layer])
            made.append(h)
        y = np.stack(made)
        each.append(y)
        end.append(h)
    write("nested-loops", {
        "in.x": x, "in.h0": h0, "w": w, "u": u, "out.y": y, "out.each": np.stack(each), "out.end": np.stack(end),
    })


def quantized():
    t, d, h, v, e, layers = 4, 21, 34, 6, 3, 2

    def stored(bits, shape, axis, size):
        """Values of few bits, a scale for each block along an axis, and what they stand for."""
        n = shape[axis]
        most = 2 ** (bits - 1)
        q = rng.integers(-most, most, shape)
        scale = np.float16(rng.uniform(0.2, 1.0, [-(-n // size) if i == axis else m for i, m in enumerate(shape)]) / most)
        w = q * np.repeat(np.float64(scale), size, axis).take(np.arange(n), axis)
        if bits == 8:
            return np.int8(q), scale, w
        pad = [(0, n % 2 if i == axis else 0) for i in range(len(shape))]
        halves = np.pad(q + 8, pad)
        low, high = (halves.take(np.arange(half, halves.shape[axis], 2), axis) for half in (0, 1))
        return np.uint8(low + 16 * high), scale, w

    x, ids = rand(t, d), rng.integers(0, v, t)
    file = {"in.x": x, "in.ids": np.int32(ids)}

    def param(name, *how):
        file[name], file[f"{name}.scale"], w = stored(*how)
        return w

    x = x + param("embed", 8, (v, d), 1, 32)[ids]
    up = param("up.weight", 8, (h, d), 1, 8)
    down = param("down", 4, (d, h), 1, 6)
    x = x + np.tanh(x @ up.T) @ down.T
    deep = [param(f"layers.{i}.w", 4, (d, d), 0, 4) for i in range(layers)]
    for w in deep:
        x = np.tanh(x @ w)
    score = sigmoid(x @ param("router", 8, (d, e), 0, 16))
    expert = param("experts.w", 8, (e, d, h), 1, 10)
    chosen = best(score, 2)
    y = np.zeros((t, h))
    for i in range(t):
        for j in chosen[i]:
            y[i] += score[i, j] * np.tanh(x[i] @ expert[j])
    write("quantized", {**file, "out.y": y, "out.x": x})


def linear_recurrences():
    t, b, h, k, v = 9, 2, 2, 8, 24
    q, key, value, g, a, s0 = rand(t, b, h, k), rand(t, b, h, k), rand(t, b, h, v), rand(t, b, h, k), rand(t, b, h), rand(b, h, k, v)

    def walk(fade, s, keys=key, reads=(q,)):
        """One step after the other."""
        ys = [[] for _ in reads]
        for i in range(t):
            s = fade(i) * s + keys[i][..., None] * value[i][..., None, :]
            for y, read in zip(ys, reads):
                y.append(np.einsum("bhk,bhkv->bhv", read[i], s))
        return s, *map(np.stack, ys)

    zero = np.zeros_like(s0)
    end, gated = walk(lambda i: sigmoid(g[i])[..., None] ** (1 / 16), s0, reads=(q / np.sqrt(k),))
    _, twice, also = walk(lambda i: sigmoid(g[i])[..., None], s0, sigmoid(key), (q, g))
    write("linear-recurrences", {
        "in.q": q, "in.k": key, "in.v": value, "in.g": g, "in.a": a, "in.s0": s0, "out.gated": gated, "out.end": end,
        "out.by_head": walk(lambda i: sigmoid(a[i])[..., None, None], s0)[1],
        "out.constant": walk(lambda i: 0.9, zero)[1],
        "out.plain": walk(lambda i: 1.0, zero)[1],
        "out.twice": twice, "out.also": also,
        "out.tiny": walk(lambda i: np.exp(-64 * np.abs(g[i]))[..., None], s0)[1],
        "out.normal": walk(lambda i: sigmoid(g[i])[..., None], s0)[1] * sigmoid(value),
    })


def by_size():
    t, d, h = 9, 8, 8
    q, k, v, g = rand(t, d), rand(t, d), rand(t, h), rand(t, h)
    write("by-size", {"in.q": q, "in.k": k, "in.v": v, "in.g": g, "out.y": sigmoid(g) * (q @ k.T @ v)})


def selection():
    b, t, u, e = 3, 9, 5, 6
    x = np.round(rand(b, t) * 4) / 4
    x[0, :4], x[1, 2], x[1, 5] = [0.0, -0.0, 0.0, -0.0], np.inf, -np.inf
    n = rng.integers(-3, 3, (b, t)).astype(np.int32)
    n[2, 1], n[2, 4] = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    ids, by, to = rng.integers(-1, e + 1, b), rng.integers(-20, 20, b), rng.integers(0, u, (b, t))
    to[to == 3] = 1
    up, down = np.argsort(x, -1, kind="stable"), best(x, t)
    scattered = np.zeros((b, u))
    for i in range(b):
        for j in range(t):
            scattered[i, to[i, j]] = x[i, j]
    write("selection", {
        "in.x": x, "in.n": n, "in.ids": ids, "in.steps": by, "in.to": to, "out.up": at(x, up), "out.down": at(x, down), "out.up_at": up,
        "out.down_at": down, "out.whole": np.sort(n, -1), "out.best": at(x, best(x, 4)), "out.best_at": best(x, 4),
        "out.third": at(x, best(x, 3))[:, 2], "out.hot": np.float64(ids[:, None] == np.arange(e)), "out.rolled": np.roll(x, 2, -1),
        "out.back": np.roll(x, -11, -1), "out.rolled_each": np.stack([np.roll(row, k) for row, k in zip(x, by)]),
        "out.scattered": scattered, "out.forward": np.round(x),
    })


def untils():
    b, d, vocab, steps = 5, 3, 6, 7
    start, embedding, u, bias = rand(b, d), rand(vocab, d), rand(d, d), rand(vocab)
    words, length, end = np.zeros((b, steps), np.int32), np.zeros(b, np.int32), start.copy()
    halved, rounds = np.abs(start).max(), 0
    for i in range(b):
        word, h, done = 1, start[i], False
        for step in range(steps):
            if not done:
                h = np.tanh(embedding[word] + h @ u)
                word, length[i] = int(np.argmax(h @ embedding.T + bias)), length[i] + 1
                done = word == 0
            words[i, step] = word
        end[i] = h
    while rounds < 20:
        halved, rounds = halved / 2, rounds + 1
        if halved < 0.01:
            break
    write("until", {
        "in.start": start, "embedding": embedding, "u": u, "bias": bias, "out.word": words, "out.length": length, "out.hid": end,
        "out.rounds": np.array(rounds, np.int32), "out.left": np.array(halved),
    })


def route_choices():
    b, t, d, e = 2, 7, 4, 3
    x, router, u, v, w = rand(b, t, d), rand(e, d), rand(e, d, d), rand(e, d, d), rand(e, d, d)
    count = rng.integers(0, e + 1, (b, t)).astype(np.int32)
    score = np.round(softmax(x @ router.T) * 8) / 8
    flat = score.reshape(-1, e)

    def taken(rows):
        """Which rows each expert takes: [b, t, e]."""
        mask = np.zeros((b * t, e))
        for i in range(e):
            mask[np.argsort(-flat[:, i], kind="stable")[:rows], i] = 1
        return mask.reshape(b, t, e)

    each = lambda w: np.einsum("btd,edf->btef", x, w)
    write("route-choices", {
        "in.x": x, "in.count": count, "router": router, "u": u, "v": v, "w": w,
        "out.some": ((taken(3) * score)[..., None] * each(u)).sum(2),
        "out.mean": ((taken(-(-2 * b * t // e)) * score)[..., None] * each(v)).sum(2),
        "out.load": taken(3).sum((0, 1)), "out.first": each(w)[:, :, :2].sum(2),
        "out.by_row": ((np.arange(e) < count[..., None])[..., None] * each(w)).sum(2),
    })


def named(name, **shapes):
    """Parameters of an instance."""
    return {f"{name}.{key}": rand(*shape) for key, shape in shapes.items()}


def of(params, name):
    """Those of an instance again, by their own names."""
    return {key[len(name) + 1 :]: x for key, x in params.items() if key.startswith(name + ".")}


def std_recurrent():
    b, t, d, h = 3, 9, 5, 4
    x = rand(b, t, d)
    both = lambda gates: {f"w{g}": (d, h) for g in gates} | {f"u{g}": (h, h) for g in gates} | {f"b{g}": (h,) for g in gates}
    p = named("lstm.step", **both("ifgo")) | named("gru.step", **both("rzn"), bu=(h,)) | named("mgu.step", **both("fn"))
    p |= named("rhn.step", wh=(d, h), wt=(d, h), rh=(2, h, h), rt=(2, h, h), bh=(2, h), bt=(2, h))
    p |= named("min_gru", wz=(d, h), wn=(d, h), bz=(h,), bn=(h,)) | named("same", wz=(d, d), wn=(d, d), bz=(d,), bn=(d,))
    p |= named("min_lstm", wf=(d, h), wi=(d, h), wn=(d, h), bf=(h,), bi=(h,), bn=(h,))

    def run(step, width=h, states=1):
        s, out = [np.zeros((b, width)) for _ in range(states)], []
        for i in range(t):
            s = step(x[:, i], *s)
            out.append(s[0])
        return np.stack(out, 1)

    def lstm(x, hid, cell):
        q = of(p, "lstm.step")
        i, f, g, o = (x @ q["w" + k] + hid @ q["u" + k] + q["b" + k] for k in "ifgo")
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(cell), cell

    def gru(x, hid):
        q = of(p, "gru.step")
        r, z = (sigmoid(x @ q["w" + k] + hid @ q["u" + k] + q["b" + k]) for k in "rz")
        n = np.tanh(x @ q["wn"] + q["bn"] + r * (hid @ q["un"] + q["bu"]))
        return ((1 - z) * n + z * hid,)

    def mgu(x, hid):
        q = of(p, "mgu.step")
        f = sigmoid(x @ q["wf"] + hid @ q["uf"] + q["bf"])
        return ((1 - f) * hid + f * np.tanh(x @ q["wn"] + (f * hid) @ q["un"] + q["bn"]),)

    def rhn(x, s):
        q = of(p, "rhn.step")
        for i in range(2):
            new = np.tanh((x @ q["wh"] if i == 0 else 0) + s @ q["rh"][i] + q["bh"][i])
            gate = sigmoid((x @ q["wt"] if i == 0 else 0) + s @ q["rt"][i] + q["bt"][i])
            s = new * gate + s * (1 - gate)
        return (s,)

    def min_gru(name):
        q = of(p, name)
        def step(x, hid):
            z = sigmoid(x @ q["wz"] + q["bz"])
            return ((1 - z) * hid + z * (x @ q["wn"] + q["bn"]),)
        return step

    def min_lstm(x, hid):
        q = of(p, "min_lstm")
        f, i = sigmoid(x @ q["wf"] + q["bf"]), sigmoid(x @ q["wi"] + q["bi"])
        return ((f * hid + i * (x @ q["wn"] + q["bn"])) / (f + i),)

    write("std-recurrent", p | {
        "in.x": x, "out.lstm": run(lstm, states=2), "out.gru": run(gru), "out.mgu": run(mgu), "out.rhn": run(rhn),
        "out.min_gru": run(min_gru("min_gru")), "out.min_lstm": run(min_lstm), "out.same": run(min_gru("same"), d),
    })


def std_attention():
    b, t, s, d = 2, 7, 5, 12
    x, memory = rand(b, t, d), rand(b, s, d)
    heads = lambda n, k: dict(wq=(d, n, k), wk=(d, n, k), wv=(d, n, k), wo=(n, k, d))
    groups = lambda n, m, k: dict(wq=(d, n, m, k), wk=(d, n, k), wv=(d, n, k), wo=(n, m, k, d))
    p = named("full", **heads(3, 4)) | named("causal", **heads(2, 5)) | named("near", **heads(2, 6)) | named("own", **heads(2, 6))
    p |= named("cross", **heads(2, 6)) | named("grouped_query", **groups(2, 3, 4)) | named("one", **groups(1, 2, 4))
    p |= named("gated_multi_head", **heads(3, 4), wg=(d, 3, 4))
    p |= named("linear_attention", wq=(d, 2, 4), wk=(d, 2, 4), wv=(d, 2, 3), wo=(2, 3, d))
    p |= named("gated_linear_attention", wq=(d, 2, 3), wk=(d, 2, 3), wv=(d, 2, 6), wg=(d, 2, 6), wa=(d, 2), ua=(2, 2, 3), ba=(2, 3),
               scale=(6,), wo=(2, 6, d))
    back = np.arange(t)[:, None] - np.arange(t)
    project = lambda x, w: np.einsum("btd,dhk->bhtk", x, w)
    joined = lambda seen, w: np.einsum("bhtk,hkd->btd", seen, w)

    def attend(q, k, v, sees=None):
        score = np.einsum("bhtk,bhsk->bhts", q, k) / np.sqrt(q.shape[-1])
        return np.einsum("bhts,bhsk->bhtk", softmax(score if sees is None else np.where(sees, score, -np.inf)), v)

    def multi_head(name, sees=None, memory=x, gate=False):
        w = of(p, name)
        seen = attend(project(x, w["wq"]), project(memory, w["wk"]), project(memory, w["wv"]), sees)
        return joined(seen * sigmoid(project(x, w["wg"])) if gate else seen, w["wo"])

    def turned(x):
        half = x.shape[-1] // 2
        angle = np.arange(t)[:, None] * 10000.0 ** (-np.arange(half) / half)
        z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)
        return np.concatenate([z.real, z.imag], -1)

    def grouped(name, turn=lambda x: x):
        w = of(p, name)
        n, m = w["wq"].shape[1:3]
        y = 0
        for i in range(n):
            k, v = turn(project(x, w["wk"][:, i : i + 1])), project(x, w["wv"][:, i : i + 1])
            for j in range(m):
                seen = attend(turn(project(x, w["wq"][:, i, j][:, None])), k, v, back >= 0)
                y = y + joined(seen, w["wo"][i, j][None])
        return y

    def linear():
        w = of(p, "linear_attention")
        positive = lambda x: np.where(x > 0, x + 1, np.exp(x))
        weight = np.einsum("bhtk,bhsk->bhts", positive(project(x, w["wq"])), positive(project(x, w["wk"]))) * (back >= 0)
        return joined(np.einsum("bhts,bhsv->bhtv", weight / weight.sum(-1, keepdims=True), project(x, w["wv"])), w["wo"])

    def decays():
        w = of(p, "gated_linear_attention")
        q, k, v = project(x, w["wq"]) / np.sqrt(3), project(x, w["wk"]), project(x, w["wv"])
        keep = sigmoid(np.einsum("btr,rhk->bhtk", x @ w["wa"], w["ua"]) + w["ba"][:, None]) ** (1 / 16)
        state, seen = np.zeros((b, 2, 3, 6)), []
        for i in range(t):
            state = keep[:, :, i, :, None] * state + k[:, :, i, :, None] * v[:, :, i, None]
            seen.append(np.einsum("bhk,bhkv->bhv", q[:, :, i], state))
        seen = np.stack(seen, 2)
        seen = seen / np.sqrt((seen**2).mean(-1, keepdims=True) + 1e-6) * w["scale"]
        gate = project(x, w["wg"])
        return joined(seen * gate * sigmoid(gate), w["wo"])

    write("std-attention", p | {
        "in.x": x, "in.memory": memory, "out.full": multi_head("full"), "out.causal": multi_head("causal", back >= 0),
        "out.near": multi_head("near", (back >= 0) & (back < 3)), "out.own": multi_head("own", back % 2 == 0),
        "out.cross": multi_head("cross", memory=memory), "out.grouped": grouped("grouped_query", turned), "out.one": grouped("one"),
        "out.gated": multi_head("gated_multi_head", back >= 0, gate=True), "out.linear": linear(), "out.decays": decays(),
    })


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2


def silu(x):
    return x * sigmoid(x)


def relu(x):
    return np.maximum(x, 0)


def std_layers():
    b, t, d, h = 3, 6, 6, 5
    x = rand(b, t, d)
    gated = lambda h: dict(gate=(d, h), up=(d, h), down=(h, d))
    plain = lambda h: dict(up=(d, h), up_bias=(h,), down=(h, d), down_bias=(d,))
    both = dict(scale=(d,), shift=(d,))
    p = named("rms_norm", scale=(d,)) | named("layer_norm", **both) | named("batch_norm", **both, mean=(d,), variance=(d,))
    p["batch_norm.variance"] = np.abs(p["batch_norm.variance"]) + 0.5
    p |= named("group_norm", **both) | named("pre.norm", scale=(d,)) | named("pre.f", **plain(7))
    p |= named("post.norm", **both) | named("post.f", **gated(h)) | named("highway", w=(d, d), b=(d,)) | named("highway.f.f", **gated(24))
    p |= named("mlp", **plain(h)) | named("gated_mlp", **gated(24))
    for name in ["glu", "bilinear", "reglu", "geglu", "swiglu"]:
        p |= named(name, **gated(h))

    def mlp(act, name, x=x):
        w = of(p, name)
        return act(x @ w["up"] + w["up_bias"]) @ w["down"] + w["down_bias"]

    def unit(act, name, x=x):
        w = of(p, name)
        return (act(x @ w["gate"]) * (x @ w["up"])) @ w["down"]

    rms = lambda x, name: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p[name + ".scale"]
    centred = lambda x, axis: (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
    moved = lambda x, name: x * p[name + ".scale"] + p[name + ".shift"]
    gate = sigmoid(x @ p["highway.w"] + p["highway.b"])
    write("std-layers", p | {
        "in.x": x, "out.rms": rms(x, "rms_norm"), "out.layer": moved(centred(x, -1), "layer_norm"),
        "out.batch": moved((x - p["batch_norm.mean"]) / np.sqrt(p["batch_norm.variance"] + 1e-5), "batch_norm"),
        "out.group": moved(centred(x.reshape(b, t, 3, 2), (1, 3)).reshape(x.shape), "group_norm"),
        "out.unit": x / np.linalg.norm(x, axis=-1, keepdims=True),
        "out.pre": x + mlp(gelu, "pre.f", rms(x, "pre.norm")), "out.post": moved(centred(x + unit(silu, "post.f"), -1), "post.norm"),
        "out.highway": gate * (x + unit(silu, "highway.f.f")) + (1 - gate) * x, "out.mlp": mlp(relu, "mlp"),
        "out.gated": unit(np.tanh, "gated_mlp"), "out.glu": unit(sigmoid, "glu"), "out.bilinear": unit(lambda x: x, "bilinear"),
        "out.reglu": unit(relu, "reglu"), "out.geglu": unit(gelu, "geglu"), "out.swiglu": unit(silu, "swiglu"),
    })


def std_routers():
    n, d, h = 13, 5, 3
    x = rand(n, d)
    gated = lambda e: dict(gate=(e, d, h), up=(e, d, h), down=(e, h, d))
    p = {"router": rand(d, 4)}
    for name, e in [("mixture", 4), ("switch", 4), ("choosing_experts", 4), ("dense_mixture", 3)]:
        p |= named(name, router=(d, e)) | named(name + ".experts", **gated(e))
    p |= named("biased_mixture", router=(d, 6), bias=(6,))
    p |= named("biased_mixture.experts", up=(6, d, h), up_bias=(6, h), down=(6, h, d), down_bias=(6, d))
    p |= named("biased_mixture.shared", up=(d, h), up_bias=(h,), down=(h, d), down_bias=(d,))

    def each(name):
        """What every expert says of every row: [rows, experts, d]."""
        w = of(p, name + ".experts")
        hidden = silu(np.einsum("nd,edh->neh", x, w["gate"])) * np.einsum("nd,edh->neh", x, w["up"])
        return np.einsum("neh,ehd->ned", hidden, w["down"])

    def weighed(weight, said):
        return (weight[..., None] * said).sum(1)

    def chosen(score, k, by=None):
        mask = np.zeros_like(score)
        np.put_along_axis(mask, best(score if by is None else by, k), 1, -1)
        return mask

    two = softmax(x @ p["mixture.router"])
    weight = two * chosen(two, 2)
    w, v = of(p, "biased_mixture.experts"), of(p, "biased_mixture.shared")
    three = sigmoid(x @ p["biased_mixture.router"])
    three = three * chosen(three, 3, three + p["biased_mixture.bias"])
    hidden = relu(np.einsum("nd,edh->neh", x, w["up"]) + w["up_bias"])
    said = np.einsum("neh,ehd->ned", hidden, w["down"]) + w["down_bias"]
    shared = relu(x @ v["up"] + v["up_bias"]) @ v["down"] + v["down_bias"]
    one = softmax(x @ p["switch.router"])
    index, kept = limited(best(one, 1), at(one, best(one, 1)), math.ceil(1.25 * n / 4), 4)
    taken = np.zeros_like(one)
    for row in range(n):
        if index[row, 0] >= 0:
            taken[row, index[row, 0]] = kept[row, 0]
    choosing = softmax(x @ p["choosing_experts.router"])
    rows = math.ceil(2 * n / 4)
    mask = np.zeros_like(choosing)
    for i in range(4):
        mask[np.argsort(-choosing[:, i], kind="stable")[:rows], i] = 1
    dense = softmax(x @ p["dense_mixture.router"])
    logits = x @ p["router"]
    score = softmax(logits)
    write("std-routers", p | {
        "in.x": x, "out.two": weighed(weight / weight.sum(-1, keepdims=True), each("mixture")),
        "out.biased": weighed(three / three.sum(-1, keepdims=True), said) + shared, "out.one": weighed(taken, each("switch")),
        "out.choosing": weighed(mask * choosing, each("choosing_experts")), "out.dense": weighed(dense, each("dense_mixture")),
        "out.balance": np.array(4 * (score.mean(0) * chosen(score, 1).mean(0)).sum()),
        "out.z": np.array((np.log(np.exp(logits).sum(-1)) ** 2).mean()),
    })


def std_graph():
    n, m, d, o = 4, 9, 6, 4
    x, y = rand(n, d), rand(m, d)
    # Node 3 has no neighbour.
    start, end = rng.integers(0, n, m).astype(np.int32), rng.integers(0, n - 1, m).astype(np.int32)
    p = named("gcn", w=(d, o), b=(o,)) | named("sage", own=(d, o), near=(d, o), b=(o,))
    p |= named("gin", eps=(), up=(d, 5), up_bias=(5,), down=(5, d), down_bias=(d,))
    p |= named("gat", w=(d, 2, 3), a=(2, 3), c=(2, 3), b=(2, 3)) | named("gated_graph", w=(d, d), b=(d,))
    p |= named("gated_graph.update", **{a + k: (d,) if a == "b" else (d, d) for a in "wub" for k in "rzn"}, bu=(d,))
    p |= named("gated_gcn", **{k: (d, d) for k in ["own", "near", "to_gate", "from_gate", "edge_gate"]}, b=(d,), c=(d,))
    into = lambda values: np.stack([values[end == i].sum(0) for i in range(n)])
    degree = np.bincount(end, minlength=n)

    gcn, sage, gin, gat, gg, gated = (of(p, k) for k in ["gcn", "sage", "gin", "gat", "gated_graph", "gated_gcn"])
    near = np.eye(n)
    for a, b in zip(start, end):
        near[b, a] += 1
    root = 1 / np.sqrt(1 + degree)
    mean = into(x[start]) / np.maximum(degree, 1)[:, None]
    z = (1 + gin["eps"]) * x + into(x[start])
    h = np.einsum("nd,dhk->nhk", x, gat["w"])
    score = (h * gat["a"]).sum(-1)[start] + (h * gat["c"]).sum(-1)[end]
    weight = np.exp(np.where(score > 0, score, 0.2 * score))
    weight = weight / into(weight)[end]
    s, q = x, of(p, "gated_graph.update")
    for _ in range(2):
        v = into((s @ gg["w"] + gg["b"])[start])
        r, u = (sigmoid(v @ q["w" + k] + s @ q["u" + k] + q["b" + k]) for k in "rz")
        s = (1 - u) * np.tanh(v @ q["wn"] + q["bn"] + r * (s @ q["un"] + q["bu"])) + u * s
    logit = (x @ gated["to_gate"])[end] + (x @ gated["from_gate"])[start] + y @ gated["edge_gate"] + gated["c"]
    gate = sigmoid(logit)
    total = into(gate * (x @ gated["near"])[start]) / (into(gate) + 1e-6)
    write("std-graph", p | {
        "in.x": x, "in.y": y, "in.start": start, "in.end": end, "out.gcn": (root[:, None] * near * root) @ (x @ gcn["w"]) + gcn["b"],
        "out.sage": x @ sage["own"] + mean @ sage["near"] + sage["b"],
        "out.gin": relu(z @ gin["up"] + gin["up_bias"]) @ gin["down"] + gin["down_bias"],
        "out.gat": into(weight[..., None] * h[start]) + gat["b"], "out.gated": s,
        "out.nodes": x + relu(x @ gated["own"] + total + gated["b"]), "out.edges": y + relu(logit),
    })


def lengths():
    b, t, d, k = 4, 6, 3, 2
    x, w, u, v = rand(b, t, d), rand(d, d), rand(d, d), rand(d, k)
    n, all_n, each = np.array([3, 0, 6, 1], np.int32), 4, np.array([[6, 0, 2, 3], [1, 5, 0, 4]], np.int32)
    forth, back, read = np.zeros((b, t, d)), np.zeros((b, t, d)), np.zeros((b, t, k))
    forth_end, back_end, held = np.full((b, d), 0.5), np.full((b, d), 0.5), np.zeros((b, k, d))
    count, place = np.zeros(b, np.int32), np.zeros((b, t), np.int32)

    def decayed(row, length):
        end = np.zeros(d)
        for step in row[:length]:
            end = end / 2 + step
        return end

    for i in range(b):
        total, done = 0.0, False
        for j in range(n[i]):
            forth_end[i] = forth[i, j] = np.tanh(x[i, j] @ w + forth_end[i] @ u)
            held[i] = sigmoid(x[i, j]) * held[i] + np.outer(np.tanh(x[i, j] @ v), x[i, j])
            read[i, j] = held[i] @ x[i, j]
            if not done:
                total, count[i] = total + x[i, j].max(), count[i] + 1
                done = total > 1.5
            place[i, j] = count[i] + 10 * j
        for j in reversed(range(n[i])):
            back_end[i] = np.tanh(x[i, j] @ w + back_end[i] @ u)
            back[i, j] = 2 * back_end[i]
    write("lengths", {
        "in.x": x, "in.n": n, "in.all_n": np.array(all_n, np.int32), "in.each": each, "w": w, "u": u, "v": v, "out.forth": forth,
        "out.forth_end": forth_end, "out.back": back, "out.back_end": back_end, "out.read": read, "out.held": held, "out.count": count,
        "out.place": place, "out.all": np.stack([decayed(row, all_n) for row in x]),
        "out.parts": np.stack([[decayed(row, length) for row, length in zip(x, one)] for one in each]),
    })


def checkpoints():
    t, d, head, kv, k, e, h = 4, 4, 2, 1, 2, 3, 3
    x, emb = rand(t, d), rand(2 * d)
    w = {"emb": emb}
    y = np.tanh(x * emb[:d] + emb[d:])

    def swiglu(name):
        w[f"{name}.gate_up.weight"], w[f"{name}.down.weight"] = rand(2 * h, d), rand(d, h)
        both, down = w[f"{name}.gate_up.weight"], w[f"{name}.down.weight"]
        gate, up = both[0::2], both[1::2]
        return lambda row: ((row @ gate.T) * sigmoid(row @ gate.T) * (row @ up.T)) @ down.T

    shared = swiglu("model.shared")
    for layer in range(2):
        at_ = f"model.layers.{layer}"
        w[f"{at_}.self_attn.c_attn.weight"], w[f"{at_}.self_attn.o_proj"] = rand(d, head * k + 2 * kv * k), rand(d, head * k)
        qkv = y @ w[f"{at_}.self_attn.c_attn.weight"]
        q, key, val = qkv[:, : head * k].reshape(t, head, k), qkv[:, head * k : -k], qkv[:, -k:]
        seen = np.einsum("ths,sk->thk", softmax(np.einsum("thk,sk->ths", q, key)), val)
        y = y + seen.reshape(t, -1) @ w[f"{at_}.self_attn.o_proj"].T
        w[f"{at_}.gate"] = rand(e, d)
        score = softmax(y @ w[f"{at_}.gate"].T)
        index = best(score, 2)
        experts = [swiglu(f"model.layers.{layer + 1}.experts.{i}") for i in range(e)]
        mixed = (at(score, index)[..., None] * routed(y, index, lambda i, row: experts[i](row))).sum(1)
        y = y + mixed + shared(y)

    def biased(place, kind):
        both, bias = rand(2 * d), rand(d)
        w[f"{kind}.{place}"], w[f"{place}.bias"] = both, bias
        return (y + bias) * both[:d] + both[d:]

    out, parts = biased("out.left", "norm") + biased("out.right", "norm"), biased("plain", "other")
    write("checkpoints", {"in.x": x, **w, "out.y": out, "out.parts": parts})


def choices():
    t, d, e = 5, 4, 3
    x, first, bias, g, second = rand(t, d), rand(2, d, d), rand(d), rand(d), rand(1, d, d)
    a = np.tanh(np.tanh(x @ first[0]) @ first[1]) + bias
    a = a * sigmoid(x * g)
    b = (np.maximum(a @ second[0], 0) - 1) * 0.5
    w = {"first.w": first, "first.bias": bias, "first.g": g, "second.w": second}
    feats = {}
    for task in ["one", "two"]:
        w[f"{task}.cell.w"] = rand(1, d, d)
        feats[task] = np.maximum(b @ w[f"{task}.cell.w"][0], 0) * 2 * 0.5
    w["one.head.w"], w["two.head.w"] = rand(d, 2), rand(d, e)
    write("choices", {
        "in.x": x, **w, "out.y": b, "out.small": feats["one"] @ w["one.head.w"], "out.large": feats["two"] @ w["two.head.w"],
        "out.both": np.stack([feats["one"], feats["two"]]),
    })


def defaults():
    x = rand(5, 4)
    p = np.concatenate([softmax(x[:, :3] / 2.0), np.zeros((5, 1))], -1)
    write("defaults", {"in.x": x, "out.p": p, "out.top": x.max(-1)})


def given():
    t, d, h, n = 5, 4, 3, 3
    x, way = rand(t, d), np.array(0.3)
    net = lambda x, up, down, scale: np.tanh(x @ up) @ down * scale
    w = {f"{p}.{k}": rand(*shape) for p in "ab" for k, shape in [("up", (d, h)), ("w2", (h, d)), ("first.scale", (d,))]}
    a, b = [[w[f"{p}.up"], w[f"{p}.w2"], w[f"{p}.first.scale"]] for p in "ab"]
    between = net(net(x, *a) + net(x, *b), a[0] * (1 - way) + b[0] * way, a[1], b[1].sum(0) * way)
    w |= {"how": rand(n), "each.up": rand(n, d, h), "each.first.scale": rand(n, d), "shared": rand(h, d)}
    w |= {"tied.first.scale": rand(d), "stacked": rand(2, d, d)}
    members = [net(x, w["each.up"][i], a[1] * w["how"][i], w["each.first.scale"][i]) for i in range(n)]
    layers = np.tanh(np.tanh(x @ w["stacked"][0] * 0.5) @ w["stacked"][1] * 0.5) * (1 + w["how"].max())
    write("given", {
        "in.x": x, "in.way": way, **w, "out.between": between, "out.members": np.stack(members), "out.layers": layers,
        "out.tied": net(x, w["shared"].T, w["shared"], w["tied.first.scale"]),
    })


def packed():
    t, d, k, seq, b = 9, 3, 2, 4, 3
    x, w, u, v, start = rand(t, d), rand(d, d), rand(d, d), rand(d, k), rand(seq, d)
    # The sequence 2 has no element, 3 stands before 0.
    of, begin = np.array([1, 1, 1, 1, 3, 0, 0, 0, 0]), np.array([0, 2, 2, 7])
    each = np.array([[0, 0, 0, 1, 1, 2, 3, 3, 3], [3] * 9, [2, 1, 1, 1, 0, 0, 0, 0, 0]])
    forth, back, read, place = np.zeros((t, d)), np.zeros((t, d)), np.zeros((t, k)), np.zeros(t, np.int32)
    forth_end, back_end, odd = start.copy(), np.full((seq, d), 0.5), np.zeros(seq, bool)
    parts = np.stack([0 * start, start])
    runs, runs_end = np.zeros((b, t), np.int32), np.zeros((b, seq), np.int32)
    for s in range(seq):
        rows, mem = np.flatnonzero(of == s), np.zeros((k, d))
        for i in rows:
            forth_end[s] = np.tanh(x[i] @ w + forth_end[s] @ u)
            forth[i], odd[s], parts[:, s] = 2 * forth_end[s], not odd[s], parts[:, s] / 2 + x[i]
            mem = sigmoid(x[i]) * mem + np.outer(np.tanh(x[i] @ v), x[i])
            read[i] = mem @ x[i]
        for i in rows[::-1]:
            back[i] = back_end[s] = np.tanh(x[i] @ w + back_end[s] @ u)
        for j in range(b):
            rows = np.flatnonzero(each[j] == s)
            runs[j, rows], runs_end[j, s] = np.arange(len(rows), 0, -1), len(rows)
    by_start = np.searchsorted(begin, np.arange(t), side="right") - 1
    for i in range(1, t):
        place[i] = place[i - 1] + 1 if by_start[i] == by_start[i - 1] else 0
    write("packed", {
        "in.x": x, "in.of": of, "in.start": start, "in.each": each, "in.begin": begin, "w": w, "u": u, "v": v, "out.forth": forth,
        "out.forth_end": forth_end, "out.back": back, "out.back_end": back_end, "out.read": read, "out.runs": runs,
        "out.runs_end": runs_end, "out.was_odd": odd, "out.by_start": by_start, "out.place": place, "out.parts": parts,
    })


def sort():
    b, t = 2, 37
    x, wide = np.round(rand(b, t) * 4) / 4, rand(t)
    n, large = rng.integers(-3, 3, t).astype(np.int32), rng.integers(-(1 << 40), 1 << 40, t)
    x[0, 3], x[0, 7], x[1, 5], x[1, 6], x[1, 30] = np.inf, -np.inf, 0.0, -0.0, 0.0
    n[3], n[9] = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    stable = lambda x: np.argsort(x, -1, kind="stable")
    tensors = {
        "in.x": x, "in.n": n, "in.wide": wide, "out.up": at(x, stable(x)), "out.down": at(x, stable(-x)), "out.up_at": stable(x),
        "out.down_at": stable(-x), "out.columns": stable(np.sign(x)).T, "out.whole": np.sort(n),
        "out.whole_at": stable(-n.astype(np.int64)), "out.wide": -np.sort(-wide),
    }
    write("sort", tensors, {"in.large": large, "out.large": np.sort(large)})


def top():
    b, t = 2, 150
    x, n = np.round(rand(b, t) * 16) / 16, rng.integers(-9, 9, (b, t)).astype(np.int32)
    write("top", {
        "in.x": x, "in.n": n, "out.value": at(x, best(x, 40)), "out.at": best(x, 40), "out.signs_at": best(np.sign(x), 40),
        "out.few": at(x, best(x, 3)), "out.some_at": best(n, 17), "out.hundred": at(n, best(n, 100)),
        "out.third": at(x, best(x, 33))[:, 32],
    })


def arm_loops():
    b, t, d = 6, 5, 24
    x, which, score = rand(b, t, d), np.array([0, 1, 2, 0, 0, 1]), rand(b, 3)
    names = ["end.w", "forth.w", "forth.u", "back.end.w", "deep.w", "deep.u"]
    w = {name: rand(*[2] * name.startswith("deep"), d, d) / 4 for name in names}

    def forth(x, w, u):
        h, out = np.zeros(d), []
        for row in x:
            h = np.tanh(row @ w + h @ u)
            out.append(h)
        return np.stack(out)

    def end(x, w):
        h = np.full(d, 0.5)
        for row in x[::-1]:
            h = 0.5 * h + np.tanh(row @ w)
        return h

    one = np.stack([[end(row, w["end.w"]), row.sum(0), np.zeros(d)][i] for row, i in zip(x, which)])
    index = best(score, 2)
    weight = at(score, index)
    weight = weight / weight.sum(-1, keepdims=True)
    arms = [lambda x: forth(x, w["forth.w"], w["forth.u"]), lambda x: x + end(x, w["back.end.w"]), lambda x: x]
    two = np.stack([sum(g * arms[i](row) for g, i in zip(gs, chosen)) for row, gs, chosen in zip(x, weight, index)])
    deep = x
    for layer in range(2):
        arms = [lambda x: forth(x, w["deep.w"][layer], w["deep.u"][layer]), lambda x: x / 2, lambda x: 0 * x]
        deep = np.stack([row + arms[i](row) for row, i in zip(deep, score.argmax(-1))])
    write("arm-loops", {"in.x": x, "in.which": which, "in.score": score, **w, "out.one": one, "out.two": two, "out.deep": deep})


def bits():
    a, b = (rng.integers(-(2**31), 2**31, 40).astype(np.int32) for _ in range(2))
    c, n = rng.integers(0, 256, 40).astype(np.uint8), np.arange(40, dtype=np.int32) - 4
    u = a.astype(np.uint32)
    by = (n % 32).astype(np.uint32)
    rotated = np.where(by == 0, u, (u << by) | (u >> ((32 - by) % 32)))
    with np.errstate(over="ignore"):
        key = a ^ (b * np.int32(1640531535))
    at8 = (n % 8).astype(np.uint8)
    write("bits", {
        "in.a": a, "in.b": b, "in.c": c, "in.n": n, "out.and": a & b, "out.or": a | b, "out.xor": a ^ b,
        "out.left": (u << by).view(np.int32), "out.right": a >> by.astype(np.int32), "out.rotated": rotated.view(np.int32),
        "out.key": (key >> 3) & 63, "out.small": ((c << at8) | (c >> ((8 - at8) % 8))) * (at8 > 0) + c * (at8 == 0) + (c >> 3),
        "out.zero": known_answers(),
    })


def threefry(key, counter):
    """Threefry-2x32 of 20 rounds (Salmon et al., SC 2011), of arrays of uint32."""
    rotations = [13, 15, 26, 6, 17, 29, 16, 24]
    k = [np.uint32(key[0]), np.uint32(key[1])]
    k.append(k[0] ^ k[1] ^ np.uint32(0x1BD11BDA))
    with np.errstate(over="ignore"):
        x, y = counter[0] + k[0], counter[1] + k[1]
        for i in range(20):
            x = x + y
            r = np.uint32(rotations[i % 8])
            y = ((y << r) | (y >> (np.uint32(32) - r))) ^ x
            if i % 4 == 3:
                s = i // 4 + 1
                x, y = x + k[s % 3], y + k[(s + 1) % 3] + np.uint32(s)
    return x, y


# Of the Random123 distribution: counter, key, words.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def known_answers():
    """The words that are known, as the program that writes Threefry out in Gate makes them."""
    for counter, key, words in KNOWN:
        made = threefry(key, [np.array([c], np.uint32) for c in counter])
        assert tuple(int(w[0]) for w in made) == words, (made, words)
    return np.array([words for _, _, words in KNOWN], np.uint32).view(np.int32).reshape(3, 2)


def noise():
    t, d, rows, steps = 5, 6, 3, 4
    seed, keys, p = -1234567, np.array([7, -8, 2**31 - 1]), 0.25
    number = np.arange(t * d, dtype=np.uint32)

    def words(key, draw, n=number):
        return threefry((key % 2**32, draw % 2**32), (n, np.zeros_like(n)))

    between = lambda word: ((word >> np.uint32(8)) | np.uint32(1)).astype(float) / 2**24
    u, v = (between(w).reshape(t, d) for w in words(seed, 0))
    each = np.stack([between(words(int(k), 3, np.arange(d, dtype=np.uint32))[0]) for k in keys])
    walk = np.stack([between(words(seed, s, np.arange(d, dtype=np.uint32))[0]) for s in range(steps)]).cumsum(0)
    write("noise", {
        "in.seed": np.array(seed), "in.keys": keys, "in.p": np.array(p), "in.x": rand(t, d), "out.uniform": u,
        "out.normal": np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v), "out.gumbel": -np.log(-np.log(u)),
        "out.kept": (between(words(seed, 2)[0]).reshape(t, d) < p), "out.each": each, "out.walk": walk,
    })


def sets():
    t, d = 5, 4
    x, w = rand(t, d), {}
    y = 0
    for side in ["left", "right"]:
        w[f"{side}.w"], w[f"{side}.deep.w"], w[f"{side}.scale"] = rand(d, d), rand(2, d, d), rand(1)[0]
        z = np.tanh(x @ w[f"{side}.w"]) * w[f"{side}.scale"]
        for layer in range(2):
            z = np.tanh(z @ w[f"{side}.deep.w"][layer])
        y = y + z
    every = {side: np.concatenate([v.ravel() for k, v in w.items() if k.startswith(side)]) for side in ["left", "right"]}
    both = np.concatenate(list(every.values()))
    dot = lambda a, b: sum((w[f"{a}.{k}"] * w[f"{b}.{k}"]).sum() for k in ["w", "deep.w", "scale"])
    write("sets", {
        "in.x": x, **w, "out.y": y, "out.norm": np.sqrt(dot("left", "left") + dot("right", "right")),
        "out.dot": np.array(dot("left", "right")), "out.one": np.sqrt((w["left.w"] ** 2).sum()),
        "out.sum": both.sum(), "out.mean": both.mean(), "out.max": both.max(), "out.min": every["left"].min(),
        "out.prod": every["right"].prod(), "out.first": np.abs(both).sum(), "out.largest": np.abs(every["left"]).max(),
    })


def choose():
    t, d, h, word = 7, 6, 40, 5
    w = {}

    def wide(path):
        up, down = w[f"{path}.up"], w[f"{path}.down"] = rand(d, h), rand(h, d)
        return lambda x: np.maximum(x @ up, 0) @ down

    def look(path):
        key, val = w[f"{path}.key"], w[f"{path}.val"] = rand(word, d), rand(word, d)
        return lambda x: val[np.argmax(x @ key.T, -1)]

    mixed = lambda x: softmax(x @ x.T) @ x
    x, g, three, way, how = rand(t, d), np.int64(1), np.array([0.5, -2.0, 0.0]), np.array(0.3), np.array([2, 0, 4, 1, 3, 0])
    a, b = wide("wide"), look("look")
    hard = [a, b, lambda x: x][g](x)
    second = int(x.sum() > 0.3)
    made = [wide("made_wide"), lambda x: mixed(x) * 0.5][second](x)
    first, p, q = wide("first"), look("other.p.look"), wide("other.q")
    inner = [first(made), [p(x) + 1, q(x), -x][g]][second]
    looks, none = look("looks.look"), wide("none.wide")
    both = [x.sum(-1) * x.max(-1), x[:, 0] * (x[:, 1] + looks(x).sum(-1)), none(x).max(-1)][g]
    weighed = sum(k * f(x) for k, f in zip(three, [wide("soft_wide"), look("soft_look"), lambda x: x]))
    known = 0.25 * x + 2 * look("known_look")(x)
    between = (1 - way) * wide("between_wide")(x) + way * mixed(x)
    steps, seen, end = [wide("step_wide.wide"), look("step_look"), mixed], [], x
    for number in how % 3:
        end = np.tanh(steps[0](end)) if number == 0 else steps[number](end)
        seen.append(end.sum())
    folded = look("only")(x)
    write("choose", {
        "in.x": x, "in.g": np.array(g), "in.w": three, "in.way": way, "in.how": how, **w, "out.hard": hard, "out.made": made,
        "out.inner": inner, "out.both": both, "out.level": x * g + g, "out.weighed": weighed, "out.known": known,
        "out.between": between, "out.folded": folded, "out.end": end, "out.seen": np.array(seen),
    })


def broadcast():
    t, n, d, e = 5, 3, 3, 4
    x, of, on = rand(t), rng.integers(-9, 9, n), rng.uniform(size=t) > 0.5
    bias, router, scale = rand(d), rand(e), rand(e, d)
    rows, steps, s = np.repeat(x[:, None], d, 1), [], np.zeros(d)
    for row in rows:
        s = 0.5 * s + row * bias
        steps.append(s)
    score = router + x[:, None] * 0.001
    index = best(score, 2)
    sent = (at(score, index)[..., None] * routed(x, index, lambda i, x: np.repeat(x, d) * scale[i])).sum(1)
    write("broadcast", {
        "in.x": x, "in.of": of, "in.on": on, "bias": bias, "router": router, "scale": scale, "out.rows": rows, "out.ones": np.ones((n, t)),
        "out.ids": of[:, None] + np.arange(e), "out.flags": np.repeat(on[:, None], n, 1), "out.sums": x * d, "out.steps": np.array(steps),
        "out.sent": sent,
    })


def buffers():
    t, d, e = 5, 4, 3
    x, codes = rand(t, d), rand(e, d)
    w = {"codes": codes, "kept": np.array([True, True, False, True]), "layers.0.shift": rand(d), "layers.2.shift": rand(d)}
    w |= {f"{p}.{k}": rand(d) for p in ["first", "second"] for k in ["scale", "shift"]}
    w |= {"first.running_mean": rand(d), "second.running_mean": rand(d), "second.running_var": rand(d) ** 2}
    w |= {"third.running_var": rand(d) ** 2, "layers.1.norm.mean": rand(d), "experts.1.bias": rand(d)}
    normal = lambda x, mean, var, scale, shift: (x - mean) / np.sqrt(var + 1e-3) * scale + shift

    def by(x, p, var):
        return normal(x, w[f"{p}.running_mean"], var, w[f"{p}.scale"], w[f"{p}.shift"])

    y = np.where(w["kept"], by(by(x, "second", w["second.running_var"]), "first", 1.0), x)
    deep = x
    for layer in range(3):
        shift = w.get(f"layers.{layer}.shift", 0.25)
        deep = np.tanh(2 * deep - w.get(f"layers.{layer}.norm.mean", 0.0) + 0.5 * shift)
    score = softmax(x @ codes.T)
    experts = sum(score[:, [i]] * (x + w.get(f"experts.{i}.bias", 0.5)) for i in range(e))
    trained = [w[f"{p}.{k}"] for p in ["first", "second"] for k in ["scale", "shift"]]
    write("buffers", {
        "in.x": x, **w, "out.y": y, "out.code": np.argmax(y @ codes.T, -1) + 7, "out.deep": deep + experts,
        "out.size": np.sqrt(sum((p ** 2).sum() for p in trained)), "out.mean": w["first.running_mean"],
        "out.own": normal(x, w["second.running_mean"], w["third.running_var"], 1.0, 0.0),
    })


def made_sizes():
    t, d, block, u = 6, 3, 8, 12
    x, z, ids = rand(t, d), rand(4 * block, d), rng.integers(0, u, t)
    n, last = 2 * t + 1, np.zeros(d)
    for step in range(n):
        last = 0.5 * last + (x * (step % 3)).sum(0) / (t + n)
    padded = np.concatenate([x, np.ones((-t % 4, d))])
    counts = np.zeros((u, d))
    np.add.at(counts, ids, x)
    write("made-sizes", {
        "in.x": x, "in.z": z, "in.ids": ids, "in.key": np.array(3), "out.ramp": np.arange(u) * (u - t), "out.twice": np.concatenate([x, x]) + 1,
        "out.hot": np.eye(u)[ids], "out.sums": z.reshape(block, 4, d).sum(1), "out.last": last + t / n,
        "out.number": np.array((3 * t - block + 1) * (t // 2) - t % 4), "out.float": np.array(0.5 * (2 * t - block * t) - (t - t // 2)),
        "out.lower": x[: t // 2], "out.upper": x[t // 2 :], "out.grouped": padded.reshape(-1, 4, d).sum(1), "out.counts": counts,
        "out.places": np.arange(t) / (2 * t - 1),
    })


def records():
    t, d, e, node = 5, 3, 2, 4
    x, scale, h, bias = rand(t, d), rand(d), rand(node, d), rand(e, d)
    w = {f"{p}{k}": rand(*n, d, d) for p, n in [("cell.", ()), ("deep.", (2,))] for k in ["w", "u"]}
    src, dst, weight = np.array([0, 3, 3, 1, 2]), np.array([1, 1, 0, 3, 3]), rand(5)

    def cell(x, hid, c, w, u):
        c = sigmoid(x @ w + hid @ u) * c + x
        return np.tanh(c), c

    hid, c, y, cells = np.zeros(d), np.zeros(d), [], 0
    for row in x:
        hid, c = cell(row, hid, c, w["cell.w"], w["cell.u"])
        y.append(hid * scale)
        cells = cells + c
    deep = (x, x * 0.5)
    for layer in range(2):
        deep = cell(deep[0], *deep, w["deep.w"][layer], w["deep.u"][layer])

    def said(h):
        y = np.zeros_like(h)
        np.add.at(y, dst, weight[:, None] * h[src])
        return y

    var = (h * h).mean(0) - h.mean(0) ** 2
    normal = lambda x, mean: (x - mean) / np.sqrt(var + 0.1)
    score = softmax(h[:, :2])
    routed = sum(score[:, [i]] * normal(h, bias[i]) for i in range(e))
    write("records", {
        "in.x": x, "in.h": h, "in.src": src, "in.dst": dst, "in.weight": weight, "scale": scale, "bias": bias, **w, "out.ys": np.array(y),
        "out.hid": hid, "out.cell": c, "out.last": cells, "out.deep": deep[1], "out.once": said(h), "out.twice": said(said(h)) * scale,
        "out.normalised": normal(said(h), h.mean(0)) + routed,
    })


def padding():
    b, t, d, vocab, e = 3, 5, 3, 7, 2
    n, emb, u, g = np.array([2, 0, 5]), rand(vocab, d), rand(d, d), rand(e, d)
    inside = np.arange(t) < n[:, None]
    ids = np.where(inside, rng.integers(0, vocab, (b, t)), [-1, vocab, 99, -99, 2**31 - 1])
    who = np.where(inside, rng.integers(0, e, (b, t)), [-1, e, 99, -99, 2**40])
    y, end = np.zeros((b, t, d)), np.zeros((b, d))
    for i in range(b):
        for j in reversed(range(n[i])):
            x = emb[ids[i, j]]
            end[i] = y[i, j] = np.tanh(sigmoid(g[who[i, j]] * x) * x + end[i] @ u)
    write("padding", {
        "in.ids": ids, "in.who": who, "in.n": n, "emb": emb, "u": u, "g": g, "out.y": y, "out.end": end,
    }, {"in.who": who})


def route_folds():
    t, d, e, arm, tau = 9, 4, 5, 3, 0.2
    x, router, of_arms, n = rand(t, d), rand(e, d), rand(arm, d), np.array([0, 5, 1, 2, 0, 3, 4, 5, 2])
    p = {name: rand(e, d, d) for name in "abcg"}
    every = lambda w: np.einsum("td,edk->tek", x, w)

    def folded(answers, chosen, how, otherwise=0.0):
        rest = np.broadcast_to(otherwise, (t, answers.shape[-1]))
        return np.array([how(row[on]) if on.any() else other for row, on, other in zip(answers, chosen, rest)])

    mean, largest = (lambda rows: rows.mean(0)), (lambda rows: rows.max(0))
    score, by_arms = softmax(x @ router.T), softmax(x @ of_arms.T)
    above, first, own = score > tau, np.arange(e) < n[:, None], by_arms > tau + 0.1
    index, _ = limited(best(score, 2), np.ones((t, 2)), 2, e)
    taken = (index[..., None] == np.arange(e)).any(1)
    assert (~above).all(1).any() or (~own).all(1).any() or (index < 0).all(1).any()
    arms = np.stack([x, 2 * x, np.full_like(x, -1)], 1)
    whole = np.array([(k * np.arange(k)).max() if k else 0 for k in n])
    write("route-folds", {
        "in.x": x, "in.n": n, "router": router, "of_arms": of_arms, **p, "out.mean": folded(every(p["a"]), above, mean),
        "out.max": folded(every(p["b"]), first, largest),
        "out.lse": folded(every(p["c"]), first, lambda rows: np.log(np.exp(rows).sum(0))),
        "out.kept": folded(every(p["g"]), taken, mean, x), "out.arms": folded(arms, own, mean),
        "out.least": folded(arms, own, largest), "out.whole": whole,
    })


def small_integers():
    b, t, d, e = 2, 7, 3, 4
    a, c = rng.integers(-128, 128, (b, t)).astype(np.int8), rng.integers(0, 256, (b, t)).astype(np.uint8)
    a[0, :3], c[1, :3] = [-128, 127, -128], [255, 0, 255]
    grid, x, w = rng.integers(0, 256, (t, d)).astype(np.uint8), rand(t, d), rand(e, d, d)
    ids = np.array([0, 3, 1, 1, 2, 3, 1])
    order = lambda x: np.argsort(x.astype(int), -1, kind="stable")
    down = lambda x: np.argsort(-x.astype(int), -1, kind="stable")
    places = down(grid)[:, :2]
    is_first = np.array([list(ids).index(i) == row for row, i in enumerate(ids)])
    write("small-integers", {
        "in.a": a, "in.c": c, "in.grid": grid, "in.x": x, "w": w, "out.up": at(a, order(a)), "out.down": at(a, down(a)),
        "out.up_at": order(a), "out.unsigned": at(c, order(c)), "out.unsigned_at": down(c), "out.largest": at(grid, places),
        "out.places": places, "out.second": at(grid, places)[:, 1], "out.y": np.einsum("td,tdk->tk", x, w[ids]),
        "out.z": np.where(is_first[:, None], x * (ids + 2)[:, None], x), "out.load": np.bincount(ids, minlength=e).astype(float),
    }, {"in.ids": ids})


def route_bounds():
    t, d, e = 6, 3, 2
    x, w, ids = rand(t, d), rand(e, d, d), np.array([0, 1, 1, 0, 1, 1])
    every = np.einsum("td,tdk->tk", x, w[ids])
    write("route-bounds", {
        "in.x": x, "in.ids": ids, "w": w, "out.below": 2 * x, "out.above": every, "out.least": 2 * x, "out.nobody": 0 * x, "out.all": every,
    })


def nested_records():
    t, d, e, arm = 5, 3, 4, 3
    x, router, of_arms, v, w = rand(t, d), rand(e, d), rand(arm, d), rand(e, d, d), rand(d, d)
    inputs = {name: rand(d) for name in ["first.mean", "first.var", "second.mean", "second.var"]}
    hid, total, scale = rand(d), rand(d), rand(1)[0]
    inputs |= {"hid": hid, "stats.sum": total, "stats.count": np.int32(2), "scale": scale}
    normal = lambda which: (x - inputs[f"{which}.mean"]) / np.sqrt(inputs[f"{which}.var"] ** 2 + 0.5)
    first, second, sums, count = normal("first"), normal("second") * scale, [], 2
    for row in x:
        hid = np.tanh((row + hid) @ w)
        total, count = total + hid, count + 1
        sums.append(total)
    score = softmax(x @ router.T)
    index = best(score, 2)
    weight = at(score, index)
    weight = weight / weight.sum(-1, keepdims=True)
    answers = routed(x, index, lambda n, row: row @ v[n])
    chosen = best(softmax(x @ of_arms.T), 1)[:, 0]
    write("nested-records", {
        "in.x": x, **{f"in.{name}": value for name, value in inputs.items()}, "router": router, "of_arms": of_arms, "v": v, "step.w": w,
        "out.y": first + second + second.sum(-1, keepdims=True), "out.end.hid": hid, "out.end.stats.count": np.int32(count),
        "out.end.stats.sum": total, "out.all.stats.sum": np.array(sums), "out.all.stats.count": np.arange(3, t + 3),
        "out.routed.y": (weight[..., None] * answers).sum(1), "out.routed.size.by": (weight * answers.sum(-1)).sum(1),
        "out.arms.y": np.choose(chosen[:, None], [x, 2 * x, 0 * x]),
        "out.arms.best": np.choose(chosen, [x.argmax(-1), (-x).argmax(-1), 0]), "out.deep.s.h": 0.25 * x + 1.5,
    })


def set_buffers():
    t, d, e = 5, 4, 3
    x, z = rand(t, d), rand(t + 2, d)
    w = {"codes": rand(d, e), "stats.scale": rand(d), "stats.running_mean": rand(d)}
    w |= {f"layers.{i}.scale": rand(d) for i in range(2)} | {"layers.1.running_mean": rand(d), "kept": np.array([True, False, True])}
    y = (x - w["stats.running_mean"]) * w["stats.scale"]
    deep = y
    for layer in range(2):
        deep = deep + (deep - w.get(f"layers.{layer}.running_mean", 0.5)) * w[f"layers.{layer}.scale"]
    nearest = lambda x: np.where(w["kept"], x @ w["codes"], -np.inf).argmax(-1)
    write("set-buffers", {
        "in.x": x, "in.z": z, **w, "out.y": y, "out.code": nearest(y), "out.deep": deep, "out.n": np.int32(3),
        "out.code_of": nearest(z), "out.mean": w["stats.running_mean"],
    })


def exit_elements():
    b, t, d, c = 3, 5, 4, 3
    x, w, v, head = rand(b, t, d), rand(5, d, d), rand(4, d, d), rand(d, c)
    p, place = np.zeros((b, t, c)), np.full((b, t), -1)
    y, n = np.zeros((b, t, d)), np.zeros((b, t))
    for row in np.ndindex(b, t):
        h = x[row]
        for layer in range(5):
            h = h + np.tanh(h @ w[layer])
            sure = softmax(h @ head)
            if sure.max() > 0.8:
                p[row], place[row] = sure, layer
                break
        else:
            p[row] = h @ head
        h, count = x[row], 0.0
        for layer in range(4):
            h = h + np.tanh(h @ v[layer])
            far = np.abs(h).max()
            # Who stays to the end leaves with what the last exit would have said.
            if far > 2.0:
                y[row], n[row] = h, count
                break
            if (count > 1.5 and far < 1.0) or layer == 3:
                y[row], n[row] = -h, -count
                break
            count += 1.0
    write("exit-elements", {
        "in.x": x, "w": w, "v": v, "head": head, "out.p": p, "out.at": place, "out.y": y, "out.n": n,
    })


def elements():
    t, d, e = 5, 4, 3
    some = lambda step, most, *shape: np.round(rng.uniform(-most, most, shape) / step) * step
    a, b, c = some(1 / 8, 2, t, d), some(1 / 4, 2, t, d), some(1 / 8, 30, t, d)
    i, k, n, p = (rng.integers(*r, (t, d)) for r in [(-9, 9), (-100, 100), (0, 256), (0, 2)])
    n[0, 0], k[0, 1], p = 3, -128, p == 1
    j = rng.integers(-(2 ** 20), 2 ** 20, t)
    w, v, u, table = some(1 / 4, 1, d, e), some(1 / 2, 1, d, e), rand(d, e), some(1 / 8, 4, 2, e)
    running, s = [], np.full(d, 0.5)
    for keep, row in zip(p, a):
        s = np.where(keep, row, s)
        running.append(s)
    half = lambda x: np.asarray(x).astype(np.float16)
    write("elements", {
        "in.a": half(a), "in.b": b, "in.c": c, "in.i": i, "in.k": k.astype(np.int8), "in.n": n.astype(np.uint8), "in.p": p,
        "w": half(w), "v": v, "u": u, "table": half(table), "out.half": half(np.where(p, 2 * a, -a)), "out.brain": np.minimum(b, 0.5),
        "out.double": (c * c).sum(-1), "out.half_product": a @ w, "out.brain_product": b @ v, "out.double_product": c @ u,
        "out.byte": (k * k).astype(np.int8), "out.unsigned": (n + n).astype(np.uint8), "out.flag": (p & (k > 0)) | (n == 3),
        "out.rounded": half(c), "out.cut": np.trunc(c).astype(np.int8), "out.row": half(table[np.arange(t) % 2]), "out.largest": b.max(-1),
        "out.running": half(np.array(running)),
    }, {"in.j": j, "out.long": (j << 33) + i.sum(-1)})


def spectral():
    t, d = 9, 3
    x, gate = rand(t, d), rand(2, d)
    wave = np.fft.fft(x, axis=0)
    y = np.fft.ifft(wave * (gate[0] + 1j * gate[1]), axis=0).real
    even, odd = x[:8:2], x[1:8:2]
    step = np.abs(x).max(-1, keepdims=True) / 7 + 1e-6
    write("spectral", {
        "in.x": x, "gate": gate, "out.wave": np.stack([wave.real, wave.imag]), "out.y": y, "out.coarse": (even + odd) / np.sqrt(2),
        "out.fine": (even - odd) / np.sqrt(2), "out.levels": np.round(x / step) * step,
    })


if __name__ == "__main__":
    for make in [
        route_topk, route_groups, route_policies, route_mixes, from_names, brackets, scans, repeats, nested_loops, route_drops,
        quantized, segments, exits, linear_recurrences, by_size, selection, route_choices, untils,
        std_recurrent, std_attention, std_layers, std_routers, std_graph,
        lengths, checkpoints, choices, defaults, given,
        packed, sort, top, arm_loops, choose, bits, noise, sets, broadcast, buffers,
        made_sizes, records, padding,
        route_folds, small_integers, route_bounds, nested_records,
        set_buffers, exit_elements, elements, spectral,
    ]:
        make()
