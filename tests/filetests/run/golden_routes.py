"""Golden files of the programs of routes that are arms, queues or soft, as `golden.py` makes those of the others.

    python golden_routes.py
"""

import numpy as np
from golden import at, best, limited, routed, sigmoid, softmax, write

rng = np.random.default_rng(8)


def rand(*shape):
    return np.round(rng.uniform(-1.5, 1.5, shape), 3)


def route_arms():
    t, d, h, e = 11, 16, 32, 4
    x, router, constant = rand(t, d), rand(e, d), rand(d)
    kind, level = rng.integers(0, 6, (2, t)).astype(np.int32)
    p = {
        "big.up": rand(d, h) / 4, "big.down": rand(h, d) / 4, "small.w": rand(d, d) / 4, "small.b": rand(d),
        "wide.up": rand(d, h) / 4, "wide.down": rand(h, d) / 4, "thin.w": rand(d, d) / 4, "thin.b": rand(d),
        "experts.v": rand(e, d, d),
    }
    wide = lambda row, name="big": np.maximum(row @ p[name + ".up"], 0) @ p[name + ".down"]
    thin = lambda row, name="small": np.tanh(row @ p[name + ".w"] + p[name + ".b"])
    copy, none, fixed = lambda row: row, lambda row: 0 * row, lambda row: constant
    score = softmax(x @ router.T)
    index = best(score, 2)
    weight = at(score, index) / at(score, index).sum(-1, keepdims=True)

    def by(arms, index=index):
        return routed(x, index, lambda i, row: arms[i](row))

    own = [lambda row: wide(row, "wide"), lambda row: thin(row, "thin"), copy, none]
    usual, filled = [wide, copy, thin, none], [wide, copy, thin, fixed]
    two = (weight[..., None] * by([wide, lambda row: 2 * thin(row), copy, fixed])).sum(1)
    every = np.array([
        [w[0] * wide(thin(row)) + w[1] * thin(row) + w[2] * row + w[3] * constant] for row, w in zip(x, score)
    ])[:, 0]
    chosen, share = limited(index, at(score, index), int(np.ceil(0.5 * 2 * t / e)), e)
    few = (share[..., None] * by([wide, thin, copy, none], chosen)).sum(1)
    few = np.where((chosen < 0).all(-1, keepdims=True), 3 * x, few)
    gate = sigmoid(x @ router.T)
    some = np.array([
        sum(((w > 0.5) * w * arm(row) for w, arm in zip(weights, [wide, thin, copy, none])), 0 * row)
        for row, weights in zip(x, gate)
    ])
    # Two rows each, of those that come to these experts.
    inner, taken, favourite = np.zeros((t, d)), [0] * e, score.argmax(-1)
    for row in range(t):
        if kind[row] % 3 == 0:
            inner[row] = [wide, thin][level[row] % 2](x[row])
        elif kind[row] % 3 == 2:
            inner[row] = x[row]
        else:
            i = favourite[row]
            taken[i] += 1
            inner[row] = score[row, i] * x[row] @ p["experts.v"][i] if taken[i] <= 2 else 0
    write("route-arms", {
        "in.x": x, "in.kind": kind, "in.level": level, "router": router, "constant": constant, **p,
        "out.one": by(own, best(x @ router.T, 1))[:, 0], "out.two": two, "out.mean": by(usual).mean(1),
        "out.max": by(usual).max(1), "out.lse": np.log(np.exp(by(usual)).sum(1)),
        "out.joined": by(filled).reshape(t, -1), "out.every": every, "out.few": few, "out.chosen": chosen,
        "out.given": by([wide, thin, copy], kind[:, None] % 3)[:, 0], "out.some": some, "out.inner": inner,
    })


def route_queues():
    b, t, d, e, f = 2, 7, 4, 3, 2
    x, router, small = rand(b, t, d), rand(e, d), rand(f, d)
    late, ids = rng.integers(0, 5, (2, b, t)).astype(np.int32)
    u, v, w, z, q = rand(e, d, d), rand(e, d, d), rand(e, d, f), rand(e, f, d, d), rand(f, d, d)
    score = softmax(x @ router.T)

    def served(index, weight, most, e, priority):
        """As `limited`, for rows in the order of their priority."""
        order = np.argsort(-priority, kind="stable")
        chosen, share = limited(index[order], weight[order], most, e)
        back = np.argsort(order, kind="stable")
        return chosen[back], share[back]

    index = best(score, 2)
    weight = at(score, index)
    ceil = lambda a: int(np.ceil(round(a, 9)))
    apart = np.stack([limited(i, g, ceil(0.75 * 2 * t / e), e)[0] for i, g in zip(index, weight)])
    flat = lambda a: a.reshape(b * t, -1)
    sure = score.max(-1)
    first = served(flat(index), flat(weight), ceil(0.5 * 2 * b * t / e), e, sure.ravel())[0].reshape(b, t, 2)
    both = np.zeros((b, t, d))
    for n in range(b):
        chosen, share = served(index[n], weight[n], 2, e, sure[n])
        rows = (share[..., None] * routed(x[n], chosen, lambda i, row: row @ u[i])).sum(1)
        both[n] = np.where((chosen < 0).all(-1, keepdims=True), x[n], rows)
    one = best(score, 1)
    early = served(flat(one), flat(at(score, one)), 2, e, -late.ravel())[0].reshape(b, t, 1)
    choice = np.zeros((b, t, d))
    for n in range(b):
        for i in range(e):
            for row in np.argsort(-score[n, :, i], kind="stable")[:2]:
                choice[n, row] += score[n, row, i] * x[n, row] @ v[i]
    rows, to = flat(x), ids.ravel() % e
    within = np.zeros((b * t, d))
    for i in range(e):
        mine = np.flatnonzero(to == i)
        if len(mine):
            prob = softmax(rows[mine] @ w[i])
            inner = best(prob, 1)
            chosen, share = limited(inner, at(prob, inner), ceil(0.6 * len(mine) / f), f)
            within[mine] = [s[0] * row @ z[i, c[0]] for row, c, s in zip(rows[mine], chosen, share)]
    there = np.flatnonzero(ids.ravel() % 2 == 1)
    prob = softmax(rows @ small.T)
    counts = np.bincount(prob[there].argmax(-1), minlength=f)
    load, experts = rows.copy(), rows.copy()
    load[there] *= (counts * np.arange(f)).sum()
    experts[there] = 0
    for i in range(f):
        for row in there[np.argsort(-prob[there, i], kind="stable")[: ceil(len(there) / f)]]:
            experts[row] += prob[row, i] * rows[row] @ q[i]
    write("route-queues", {
        "in.x": x, "in.late": late, "in.ids": ids, "router": router, "inner": small, "u": u, "v": v, "w": w, "z": z,
        "chosen.q": q, "out.apart": apart, "out.first": first, "out.both": both, "out.early": early, "out.choice": choice,
        "out.within": within.reshape(b, t, d), "out.load": load.reshape(b, t, d), "out.experts": experts.reshape(b, t, d),
    })


def route_soft():
    b, t, d, e, p = 2, 5, 8, 3, 2
    x, phi, psi = rand(b, t, d), rand(d, e, p), rand(d, e)
    u, v, w, z = (rand(e, d, d) for _ in range(4))
    slots, one, arms = (np.zeros((b, t, d)) for _ in range(3))
    for n in range(b):
        logit = (x[n] @ phi.reshape(d, -1))
        mixed = (softmax(logit, 0).T @ x[n]).reshape(e, p, d)
        combine = softmax(logit)
        slots[n] = combine @ np.stack([np.maximum(mixed[i] @ u[i], 0) @ v[i] for i in range(e)]).reshape(-1, d)
        kinds = [mixed[0], mixed[1] * (np.arange(p) + 1)[:, None], np.full((p, d), 0.5)]
        arms[n] = combine @ np.stack(kinds).reshape(-1, d)
        score = x[n] @ psi
        mixed = softmax(score, 0).T @ x[n]
        one[n] = softmax(score) @ np.stack([np.tanh(mixed[i] @ w[i]) for i in range(e)])
    score = x @ psi
    mixed = np.einsum("bte,btd->ed", sigmoid(score), x)
    write("route-soft", {
        "in.x": x, "phi": phi, "psi": psi, "u": u, "v": v, "w": w, "z": z, "out.slots": slots, "out.one": one,
        "out.arms": arms, "out.all": np.einsum("bte,ed,edf->btf", score, mixed, z),
    })


def route_nested():
    t, d, e, f = 9, 8, 4, 3
    x, router, ids = rand(t, d), rand(d, e), rng.integers(0, 9, t).astype(np.int32)
    inner, queue, gate = (rand(e, d, f) for _ in range(3))
    w, v, u, z = (rand(e, f, d, d) / 4 for _ in range(4))
    b, c = rand(e, f, d), rand(e, f, d)
    score = softmax(x @ router)
    index = best(score, 2)
    weight = at(score, index) / at(score, index).sum(-1, keepdims=True)
    deep, queued, some, given = (np.zeros((t, d)) for _ in range(4))
    for row in range(t):
        for i, share in zip(index[row], weight[row]):
            own = softmax(x[row] @ inner[i])
            deep[row] += share * sum(own[k] * np.tanh(x[row] @ w[i, k] + b[i, k]) for k in best(own, 2))
        for i in range(e):
            gates = sigmoid(x[row] @ gate[i])
            if score[row, i] > 0.2:
                some[row] += score[row, i] * sum(
                    (g * np.maximum(x[row] @ u[i, k] + c[i, k], 0) for k, g in enumerate(gates) if g > 0.5), 0 * x[row])
        given[row] = x[row] @ z[score[row].argmax(), ids[row] % 3]
    # Queues of the inner experts: first rows that come by a first choice of the outer ones or a second, in the order of rows.
    chosen, share = limited(index, at(score, index), 3, e)
    taken = np.zeros((e, f), int)
    for row in range(t):
        for i in range(e):
            if i in index[row]:
                own = softmax(x[row] @ queue[i])
                k = own.argmax()
                taken[i, k] += 1
                answer = own[k] * x[row] @ v[i, k] if taken[i, k] <= 2 else x[row]
                queued[row] += sum(g for j, g in zip(chosen[row], share[row]) if j == i) * answer
    write("route-nested", {
        "in.x": x, "in.ids": ids, "router": router, "inner": inner, "queue": queue, "gate": gate, "w": w, "b": b, "v": v,
        "u": u, "c": c, "z": z, "out.deep": deep, "out.queued": queued, "out.some": some, "out.given": given,
    })


def route_options():
    b, t, d, e, n, factor = 3, 7, 4, 3, 2, 0.5
    x, router, bias = rand(b, t, d), rand(e, d), rand(e)
    u, v, w = (rand(e, d, d) for _ in range(3))
    real = np.arange(t) < np.array([7, 3, 5])[:, None]
    score = x @ router.T
    index = best(score, 2)
    weights = softmax(at(score + bias, index))
    answers = np.stack([routed(rows, chosen, lambda i, row: row @ u[i]) for rows, chosen in zip(x, index)])
    shares = at(sigmoid(score + bias), index)

    def queue(index, most):
        """Rows of the mask, sequence after sequence; an expert takes so many."""
        flat = np.where(real[..., None], index, -1).reshape(-1, index.shape[-1])
        taken = [0] * e
        for slot in range(flat.shape[1]):
            for row in range(len(flat)):
                if flat[row, slot] >= 0:
                    taken[flat[row, slot]] += 1
                    flat[row, slot] = flat[row, slot] if taken[flat[row, slot]] <= most else -1
        return flat.reshape(index.shape)

    masked, first = np.where(real[..., None], index, -1), index[..., :1]
    queued, chosen = np.zeros((b, t, d)), np.zeros((b, t, d))
    share = softmax(at(score, index))
    for s in range(b):
        own, gates = limited(index[s][real[s]], share[s][real[s]], n, e)
        rows = x[s][real[s]]
        answer = sum(g[:, None] * np.stack([row @ v[i] if i >= 0 else 0 * row for row, i in zip(rows, own[:, k])])
                     for k, g in enumerate(gates.T))
        queued[s] = x[s]
        queued[s][real[s]] = np.where((own < 0).all(-1, keepdims=True), rows, answer)
    rows, scores, are = x.reshape(-1, d), score.reshape(-1, e), real.reshape(-1)
    for i in range(e):
        order = [row for row in best(scores[:, i], b * t) if are[row]][:n]
        for row in order:
            chosen.reshape(-1, d)[row] += scores[row, i] * rows[row] @ w[i]
    write("route-options", {
        "in.x": x, "in.bias": bias, "in.real": real, "in.n": np.array(n, np.int32), "in.factor": np.array(factor),
        "router": router, "u": u, "v": v, "w": w, "out.weighed": (weights[..., None] * answers).sum(2),
        "out.shares": shares / shares.sum(-1, keepdims=True), "out.masked": masked,
        "out.load": np.array([(masked == i).sum() for i in range(e)], float), "out.counted": queue(first, n),
        "out.factored": queue(first, int(np.ceil(factor * real.sum() / e))), "out.sized": first,
        "out.queued": queued, "out.chosen": chosen,
    })


def route_loops():
    b, t, d, e, k = 6, 5, 24, 4, 8
    x, router, which = rand(b, t, d), rand(d, e) / 4, np.array([0, 1, 2, 1, 0, 4], np.int32)
    p = {f"{name}.{w}": rand(e, d, d) / 4 for name in ["recurrent", "few"] for w in "wu"}
    p |= {f"{name}.c": rand(e, d) for name in ["recurrent", "few"]}
    p |= {f"attends.{w}": rand(e, d, k) / 2 for w in ["wq", "wk", "wv"]} | {"attends.wo": rand(e, k, d) / 2}
    p |= {"step.w": rand(d, d) / 4, "step.u": rand(d, d) / 4, "step.c": rand(d)}
    p |= {f"look.{w}": rand(d, k) / 2 for w in ["wq", "wk", "wv"]} | {"look.wo": rand(k, d) / 2, "u": rand(e, 3, d, d) / 4}

    def recurrent(x, name, *i):
        w, u, c = (p[f"{name}.{part}"][i] for part in "wuc")
        h, out = np.zeros(d), []
        for row in x:
            h = np.tanh(row @ w + h @ u + c)
            out.append(h)
        return np.stack(out)

    def attention(x, name, *i):
        q, key, val = (x @ p[f"{name}.{part}"][i] for part in ["wq", "wk", "wv"])
        return softmax(q @ key.T / 3) @ val @ p[f"{name}.wo"][i]

    score = softmax(x.sum(1) @ router)
    index = best(score, 2)
    weight = at(score, index) / at(score, index).sum(-1, keepdims=True)
    alike = np.stack([sum(g * recurrent(x[n], "recurrent", i) for i, g in zip(index[n], weight[n])) for n in range(b)])
    chosen, share = limited(index, at(score, index), 2, e)
    few = np.stack([
        sum((g * recurrent(x[n], "few", i) for i, g in zip(chosen[n], share[n]) if i >= 0), np.zeros((t, d))) for n in range(b)
    ])
    ends = []
    for n, i in enumerate(score.argmax(-1)):
        h = x[n].sum(0)
        for layer in range(3):
            h = np.tanh(h @ p["u"][i, layer]) + h
        ends.append(h)
    attends = np.stack([attention(x[n], "attends", i) for n, i in enumerate(score.argmax(-1))])
    kinds = [lambda x: recurrent(x, "step"), lambda x: attention(x, "look"), lambda x: 0 * x]
    write("route-loops", {
        "in.x": x, "in.which": which, "router": router, **p, "out.alike": alike, "out.end": np.stack(ends), "out.few": few,
        "out.attends": attends, "out.arms": np.stack([kinds[i % 3](row) for row, i in zip(x, which)]),
    })


if __name__ == "__main__":
    for make in [route_arms, route_queues, route_soft, route_nested, route_options, route_loops]:
        make()
