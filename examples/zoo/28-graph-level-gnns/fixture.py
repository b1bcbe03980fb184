"""Golden values of graph-level networks: python fixture.py     (pip install torch safetensors)

The layers as in the benchmark of Dwivedi et al. (2020), the pooling as their papers have it, and message passing on
the subgraphs of short paths around each node, in float64 on float32 weights and inputs.
"""
import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
D, CLASSES, LAYERS, KINDS, BONDS, SLOTS, CLUSTERS, REACH = 6, 3, 2, 5, 3, 4, 2, 2


# The network: `w` maps names to float64 tensors.


def seg(x, index, count):
    return torch.zeros(count, *x.shape[1:], dtype=x.dtype).index_add_(0, index, x)


def norm(w, name, x, training):
    if training:
        return torch.nn.functional.batch_norm(x, None, None, w[name + ".scale"], w[name + ".shift"], True)
    stats = w[name + ".mean"], w[name + ".variance"]
    return torch.nn.functional.batch_norm(x, *stats, w[name + ".scale"], w[name + ".shift"])


def gcn(w, name, h, src, dst, training=False):
    one = torch.ones(len(src), dtype=h.dtype)
    out_deg, in_deg = (seg(one, i, len(h)).clamp(min=1)[:, None] for i in (src, dst))
    m = seg((h * out_deg**-0.5)[src], dst, len(h)) * in_deg**-0.5
    return h + torch.relu(norm(w, name + ".norm", m @ w[name + ".w"] + w[name + ".b"], training))


def gin(w, name, h, said, training=False):
    a = (1 + w[name + ".eps"]) * h + said
    a = torch.relu(norm(w, name + ".inner", a @ w[name + ".w1"] + w[name + ".b1"], training))
    return h + torch.relu(norm(w, name + ".outer", a @ w[name + ".w2"] + w[name + ".b2"], training))


def gated_gcn(w, name, h, e, src, dst, training=False):
    a, b, c, d, e2 = (lambda x, k=k: x @ w[f"{name}.w{k}"] + w[f"{name}.b{k}"] for k in "abcde")
    hat = c(e) + d(h)[src] + e2(h)[dst]
    s = torch.sigmoid(hat)
    new = a(h) + seg(s * b(h)[src], dst, len(h)) / (seg(s, dst, len(h)) + 1e-6)
    return (h + torch.relu(norm(w, name + ".nodes", new, training)),
            e + torch.relu(norm(w, name + ".edges", hat, training)))


def readout(w, name, x):
    for i in (1, 2):
        x = torch.relu(x @ w[f"{name}.w{i}"] + w[f"{name}.b{i}"])
    return x @ w[name + ".w3"] + w[name + ".b3"]


def layers(w, name):
    """The weights of each layer of `name`."""
    mine = {k: v for k, v in w.items() if k.startswith(name + ".")}
    return [{k: v[i] for k, v in mine.items()} for i in range(LAYERS)]


def split(h, g):
    return torch.split(h, g["nodes_of"].tolist())


def gcn_mean(w, g):
    h = w["node_kinds"][g["kinds"]]
    for w1 in layers(w, "gcn"):
        h = gcn(w1, "gcn", h, g["src"], g["dst"])
    return {"score": readout(w, "gcn_readout", torch.stack([x.mean(0) for x in split(h, g)]))}


def gin_sum(w, g):
    h = w["node_kinds"][g["kinds"]]
    pool = lambda h: torch.stack([x.sum(0) for x in split(h, g)])
    score = pool(h) @ w["score_w0"] + w["score_b0"]
    for i, w1 in enumerate(layers(w, "gin")):
        h = gin(w1, "gin", h, seg(h[g["src"]], g["dst"], len(h)))
        score = score + pool(h) @ w["score_w"][i] + w["score_b"][i]
    return {"score": score}


def gated_max(w, g):
    h, e = w["node_kinds"][g["kinds"]], w["edge_kinds"][g["bonds"]]
    for w1 in layers(w, "gated"):
        h, e = gated_gcn(w1, "gated", h, e, g["src"], g["dst"])
    return {"score": readout(w, "gated_readout", torch.stack([x.max(0).values for x in split(h, g)])), "edges": e}


def training(w, g):
    h, e, src, dst = w["node_kinds"][g["kinds"]], w["edge_kinds"][g["bonds"]], g["src"], g["dst"]
    gated, edges = gated_gcn(w, "train_gated", h, e, src, dst, True)
    return {"gcn": gcn(w, "train_gcn", h, src, dst, True), "gated": gated, "edges": edges,
            "gin": gin(w, "train_gin", h, seg(h[src], dst, len(h)), True)}


def top_k(w, g):
    h = gcn(w, "before", w["node_kinds"][g["kinds"]], g["src"], g["dst"])
    return better_half(w, "top", g, h, torch.tanh(h @ w["choose"] / w["choose"].norm()))


def sag(w, g):
    src, dst = g["src"], g["dst"]
    h = gcn(w, "sag_before", w["node_kinds"][g["kinds"]], src, dst)
    a = torch.zeros(len(h), len(h), dtype=h.dtype).index_put((dst, src), torch.ones(len(src), dtype=h.dtype), accumulate=True)
    scaled = a.sum(1).clamp(min=1)[:, None] ** -0.5 * a * a.sum(0).clamp(min=1) ** -0.5
    return better_half(w, "sag", g, h, torch.tanh(scaled @ h @ w["sag_w"] + w["sag_b"]))


def better_half(w, name, g, h, y):
    """The nodes that stay are really taken out and numbered anew."""
    src, dst = g["src"], g["dst"]
    keep, first, counts = [], 0, []
    for n in g["nodes_of"].tolist():
        best = sorted(range(first, first + n), key=lambda i: (-y[i].item(), i))[:(n + 1) // 2]
        keep += sorted(best)
        counts.append(len(best))
        first += n
    number = {old: new for new, old in enumerate(keep)}
    pairs = [(number[s], number[d]) for s, d in zip(src.tolist(), dst.tolist()) if s in number and d in number]
    src, dst = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    h = gcn(w, f"{name}.after", h[keep] * y[keep, None], src, dst)
    mean = torch.stack([x.mean(0) for x in torch.split(h, counts)])
    kept = torch.zeros(len(y), dtype=torch.bool)
    kept[keep] = True
    return {"keep": kept, "score": readout(w, f"{name}.readout", mean)}


def in_order(w, g):
    flat = []
    for h in split(w["node_kinds"][g["kinds"]], g):
        rows = h[torch.sort(h[:, -1], descending=True, stable=True).indices][:SLOTS]
        flat.append(torch.cat([rows, torch.zeros(SLOTS - len(rows), D, dtype=h.dtype)]).flatten())
    return torch.stack(flat)


def sort_pool(w, g):
    return {"score": in_order(w, g) @ w["sort_w"] + w["sort_b"]}


def sort_conv(w, g):
    """As its paper has it: a convolution of stride D over all features, max pooling of two, a second convolution, one product."""
    z = torch.conv1d(in_order(w, g)[:, None], w["conv1"][:, None], w["conv1_b"], stride=D).relu()
    z = torch.conv1d(torch.max_pool1d(z, 2), w["conv2"], w["conv2_b"]).relu()
    return {"score": z.flatten(1) @ w["conv_w"].flatten(0, 1) + w["conv_b"]}


def diff_pool(w, g):
    x, a, there = g["x"], g["a"], g["there"][..., None]
    dense = lambda name: torch.bmm(a, x) @ w[name + ".w"] + x @ w[name + ".own"] + w[name + ".b"]
    z, s = torch.relu(dense("embed")) * there, torch.softmax(dense("assign"), -1) * there
    link = torch.linalg.vector_norm(a - torch.bmm(s, s.mT)) / a.numel()
    entropy = (-s * torch.log(s + 1e-15)).sum(-1).mean()
    return {"x2": torch.bmm(s.mT, z), "a2": torch.bmm(torch.bmm(s.mT, a), s), "link": link, "entropy": entropy}


def k_paths(w, g):
    x = w["node_kinds"][g["kinds"]]
    z = torch.cat([x[g["member"]], w["distances"][g["dist"]]], -1) @ w["path_win"]
    e = w["edge_kinds"][g["path_bonds"]]
    for w1 in layers(w, "path_gin"):
        z = gin(w1, "path_gin", z, seg(torch.relu(z[g["psrc"]] + e), g["pdst"], len(z)))
    h = torch.cat([seg(z, g["root"], len(x)), z[g["own"]]], -1)
    h = torch.relu(h @ w["path_w1"] + w["path_b1"]) @ w["path_w2"] + w["path_b2"]
    return {"score": readout(w, "path_readout", torch.stack([v.sum(0) for v in split(h, g)]))}


def add_paths(g):
    """The subgraph of each node: what lies on a simple path of at most REACH edges that starts there."""
    edges = {}
    for s, d, b in zip(*(g[k].tolist() for k in ("src", "dst", "bonds"))):
        edges.setdefault(s, {})[d] = b
    out = {k: [] for k in ("root", "member", "dist", "psrc", "pdst", "path_bonds", "own")}
    for v in range(len(g["kinds"])):
        dist, lines, paths = {v: 0}, set(), [(v,)]
        while paths:
            p = paths.pop(0)
            if len(p) <= REACH:
                for u in edges.get(p[-1], {}):
                    if u not in p:
                        dist[u] = min(dist.get(u, REACH), len(p))
                        lines |= {(p[-1], u), (u, p[-1])}
                        paths.append((*p, u))
        near = {(s, d) for s in dist for d in edges.get(s, {}) if d in dist and min(dist[s], dist[d]) < REACH}
        assert lines == near
        at = {u: len(out["root"]) + i for i, u in enumerate(sorted(dist))}
        out["own"].append(at[v])
        out["root"] += [v] * len(at)
        out["member"] += list(at)
        out["dist"] += [dist[u] for u in at]
        for s, d in sorted(lines):
            out["psrc"].append(at[s])
            out["pdst"].append(at[d])
            out["path_bonds"].append(edges[s][d])
    g |= {k: torch.tensor(v, dtype=torch.int32) for k, v in out.items()}


# Weights and golden values.

PATHS = {"kinds": "kinds", "nodes_of": "nodes_of", "bonds": "path_bonds"} | {
    k: k for k in ("root", "member", "dist", "own", "psrc", "pdst")}
ENTRIES = {
    gcn_mean: "kinds src dst nodes_of", gin_sum: "kinds src dst nodes_of", gated_max: "kinds bonds src dst nodes_of",
    training: "kinds bonds src dst", top_k: "kinds src dst nodes_of", sort_pool: "kinds nodes_of", k_paths: PATHS,
    sag: "kinds src dst nodes_of", sort_conv: "kinds nodes_of",
}


def weights():
    w = {}

    def draw(name, *shape, scale=1.0, around=0.0):
        w[name] = torch.randn(shape) * scale + around

    def add_norm(name, lead, stats=True):
        draw(name + ".scale", *lead, D, scale=0.2, around=1)
        draw(name + ".shift", *lead, D, scale=0.2)
        if stats:
            draw(name + ".mean", *lead, D, scale=0.3)
            w[name + ".variance"] = torch.rand(*lead, D) + 0.5

    def add_gcn(name, lead, stats=True):
        draw(name + ".w", *lead, D, D, scale=0.4)
        draw(name + ".b", *lead, D, scale=0.3)
        add_norm(name + ".norm", lead, stats)

    def add_gin(name, lead, stats=True):
        draw(name + ".eps", *lead, scale=0.1)
        for i in "12":
            draw(f"{name}.w{i}", *lead, D, D, scale=0.4)
            draw(f"{name}.b{i}", *lead, D, scale=0.3)
        add_norm(name + ".inner", lead, stats)
        add_norm(name + ".outer", lead, stats)

    def add_gated(name, lead, stats=True):
        for k in "abcde":
            draw(f"{name}.w{k}", *lead, D, D, scale=0.4)
            draw(f"{name}.b{k}", *lead, D, scale=0.3)
        add_norm(name + ".nodes", lead, stats)
        add_norm(name + ".edges", lead, stats)

    def add_readout(name):
        for i, (a, b) in enumerate([(D, D // 2), (D // 2, D // 4), (D // 4, CLASSES)], 1):
            draw(f"{name}.w{i}", a, b, scale=a**-0.5)
            draw(f"{name}.b{i}", b, scale=0.3, around=0.5)

    draw("node_kinds", KINDS, D)
    draw("edge_kinds", BONDS, D)
    add_gcn("gcn", [LAYERS])
    add_gin("gin", [LAYERS])
    add_gin("path_gin", [LAYERS])
    add_gated("gated", [LAYERS])
    add_gcn("before", [])
    add_gcn("top.after", [])
    add_gcn("train_gcn", [], False)
    add_gin("train_gin", [], False)
    add_gated("train_gated", [], False)
    for name in ("gcn_readout", "gated_readout", "top.readout", "path_readout"):
        add_readout(name)
    for name, *shape in [("score_w0", D, CLASSES), ("score_b0", CLASSES), ("score_w", LAYERS, D, CLASSES),
                         ("score_b", LAYERS, CLASSES), ("choose", D), ("sort_w", SLOTS * D, CLASSES),
                         ("sort_b", CLASSES),
                         ("distances", REACH + 1, D), ("path_win", 2 * D, D), ("path_w1", 2 * D, D), ("path_w2", D, D),
                         ("path_b1", D), ("path_b2", D)]:
        draw(name, *shape, scale=0.4)
    for name, wide in {"embed": D, "assign": CLUSTERS}.items():
        draw(name + ".w", D, wide, scale=0.4)
        draw(name + ".own", D, wide, scale=0.4)
        draw(name + ".b", wide, scale=0.3)
    add_gcn("sag_before", [])
    add_gcn("sag.after", [])
    add_readout("sag.readout")
    for name, *shape in [("sag_w", D), ("sag_b",), ("conv1", 5, D), ("conv1_b", 5), ("conv2", 4, 5, 2), ("conv2_b", 4),
                         ("conv_w", 4, SLOTS // 2 - 1, CLASSES), ("conv_b", CLASSES)]:
        draw(name, *shape, scale=0.5)
    return w


def batch(*graphs):
    """Of (number of nodes, undirected edges)."""
    src, dst, bonds, first = [], [], [], 0
    for n, lines in graphs:
        for a, b in lines:
            src += [first + a, first + b]
            dst += [first + b, first + a]
            bonds += [int(torch.randint(BONDS, ()))] * 2
        first += n
    nodes_of = [n for n, _ in graphs]
    g = {"kinds": torch.randint(KINDS, (first,)), "src": src, "dst": dst, "bonds": bonds, "nodes_of": nodes_of}
    g = {k: torch.as_tensor(v, dtype=torch.int32) for k, v in g.items()}
    add_paths(g)
    return g


def main():
    torch.manual_seed(28)
    w = weights()
    save_file(w, HERE / "weights.safetensors")
    w = {k: v.double() for k, v in w.items()}
    ring = lambda n: [(i, (i + 1) % n) for i in range(n)]
    batches = {
        "three": batch((3, [(0, 1), (1, 2)]), (5, [(0, 1), (0, 2), (1, 2), (2, 3), (0, 3)]), (1, [])),
        "shapes": batch((6, ring(6)), (3, ring(3)), (4, [(0, 1), (1, 2), (2, 3)])),
        "one": batch((1, [])),
    }
    golden = {}
    for name, g in batches.items():
        for entry, inputs in ENTRIES.items():
            if name == "one" and entry is training:
                continue
            inputs = inputs if isinstance(inputs, dict) else {k: k for k in inputs.split()}
            made = entry(w, {k: v.long() for k, v in g.items()})
            for k, v in ({k: g[of] for k, of in inputs.items()} | made).items():
                v = v.float() if v.dtype == torch.float64 else v.clone()
                golden[f"{entry.__name__}_{name}.{k}"] = v
    for name, counts in {"full": [4, 4], "filled": [5, 2, 1]}.items():
        n = max(counts)
        there = (torch.arange(n) < torch.tensor(counts)[:, None]).float()
        a = (torch.rand(len(counts), n, n) < 0.5).float().triu(1)
        a = (a + a.mT) * there[:, None] * there[..., None]
        g = {"x": torch.randn(len(counts), n, D) * there[..., None], "a": a, "there": there}
        made = diff_pool(w, {k: v.double() for k, v in g.items()})
        golden |= {f"diff_pool_{name}.{k}": v.float().contiguous() for k, v in (g | made).items()}
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"D": 78, "LAYERS": 2}


def medium():
    """GatedGCN's published width on 128 rings of 23 nodes, two layers."""
    torch.manual_seed(28)
    n, graphs = 23, 128
    first = torch.arange(graphs).repeat_interleave(n) * n
    near = first + (torch.arange(n) + 1).remainder(n).repeat(graphs)
    own = torch.arange(n * graphs)
    g = {"kinds": torch.randint(KINDS, (n * graphs,)), "src": torch.cat([own, near]), "dst": torch.cat([near, own]),
         "bonds": torch.randint(BONDS, (2 * n * graphs,)), "nodes_of": torch.full((graphs,), n)}
    return {
        "entry": "gated_max", "weights": weights(), "inputs": g, "network": gated_max, "axes": {"d": D, "quarter": D // 4},
    }


if __name__ == "__main__":
    main()
