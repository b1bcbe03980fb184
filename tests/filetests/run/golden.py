"""Golden files of the programs beside this script, in NumPy alone and float64: what the language means, written a second time.

    python golden.py            # writes NAME.safetensors beside NAME.gate
"""

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


def write(name, tensors):
    def stored(x):
        return np.ascontiguousarray(x, dtype=np.int32 if x.dtype == np.int64 else x.dtype).reshape(x.shape)

    path = HERE / f"{name}.safetensors"
    save_file({key: stored(x) for key, x in tensors.items()}, path)
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


if __name__ == "__main__":
    for make in [
        route_topk, route_groups, route_policies, route_mixes, from_names, brackets, scans, repeats, nested_loops, route_drops,
        quantized, segments, exits, linear_recurrences, by_size, selection, route_choices, untils,
    ]:
        make()
