"""Golden values of CommFormer: python fixture.py     (pip install torch safetensors)

The equations of the authors' repository in PyTorch, float64 on float32 weights and inputs; the gate is the
reconstruction that README.md names. The decoder runs anew for every agent.
"""
import pathlib

import torch
from safetensors.torch import save_file
from torch.nn.functional import gelu, layer_norm

HERE = pathlib.Path(__file__).parent
N, D, H, O, A, KEEP = 4, 8, 2, 5, 3, 2
C = D // H


# The network: `w` maps names to float64 tensors.


def ln(w, name, x):
    return layer_norm(x, x.shape[-1:], w[name + "scale"], w[name + "shift"])


def linear(w, name, x, n=""):
    return x @ w[f"{name}.w{n}"].flatten(1) + w[f"{name}.b{n}"].flatten()


def attention(w, name, of, to, m, r=None, causal=False):
    """m: [b, N, N]; heads in a loop."""
    q, k, v = linear(w, name, of, "q"), linear(w, name, to, "k"), linear(w, name, to, "v")
    out = []
    for h in range(H):
        at = slice(h * C, h * C + C)
        if r is None:
            s = q[..., at] @ k[..., at].mT * C**-0.5
        else:
            ra, rb = linear(w, name, r, "r").chunk(2, -1)
            qi = q[:, :, None, at] + ra[..., at].transpose(0, 1)
            kj = k[:, None, :, at] + rb[..., at].transpose(0, 1)
            s = (qi * kj).sum(-1) * C**-0.5 * C**-0.5
        if causal:
            s = s.masked_fill(torch.ones(N, N).triu(1).bool(), -torch.inf)
        out.append(torch.softmax(s.masked_fill(m == 0, -torch.inf), -1) * m @ v[..., at])
    return torch.cat(out, -1) @ w[name + ".wo"].flatten(0, 1) + w[name + ".bo"]


def embed(w, name, x):
    return ln(w, name + ".norm.", gelu(x @ w[name + ".w"] + w[name + ".b"]))


def encode(w, x, m, r):
    x = ln(w, "encode.norm1.", x + attention(w, "encode.rattn", x, x, m, r))
    return ln(w, "encode.norm2.", x + linear(w, "encode.ffn", torch.relu(linear(w, "encode.ffn", x, 1)), 2))


def decode(w, rows, rep, m, r, head="own"):
    x = rows @ w["real_w"] + w["real_b"] if head == "means" else rows @ w["act_w"]
    x = ln(w, "decode.norm0.", gelu(x))
    x = ln(w, "decode.norm1.", x + attention(w, "decode.own", x, x, m, r, True))
    x = ln(w, "decode.norm2.", rep + attention(w, "decode.across", rep, x, m, r, True))
    x = ln(w, "decode.norm3.", x + linear(w, "decode.mlp", gelu(linear(w, "decode.mlp", x, 1)), 2))
    if head == "central":
        x = ln(w, "central.norm.", gelu(x @ w["central.w1"] + w["central.b1"]))
        return x @ w["central.w2"] + w["central.b2"]
    if head == "one":
        x = gelu(linear(w, "one.mlp2", ln(w, "one.norm1.", x), 1))
        x = gelu(linear(w, "one.mlp2", ln(w, "one.mlp2.norm2.", x), 2))
        return ln(w, "one.norm3.", x) @ w["one.w3"] + w["one.b3"]
    scores = []
    for i in range(N):
        y = x[:, i]
        for layer in "123":
            y = layer_norm(y, (D,), w[f"{head}.scale{layer}"][i], w[f"{head}.shift{layer}"][i])
            y = y @ w[f"{head}.w{layer}"][i] + w[f"{head}.b{layer}"][i]
            y = gelu(y) if layer != "3" else y
        scores.append(y)
    return torch.stack(scores, 1)


def graph(w, noise=0):
    g = torch.zeros(N, N, dtype=w["logits"].dtype)
    for i, row in enumerate((w["logits"] + noise).tolist()):
        g[i, sorted(range(N), key=lambda j: (-row[j], j))[:KEEP]] = 1
    return g


def begin(w, obs, noise=0):
    g = graph(w, noise)
    return embed(w, "observe", ln(w, "obs_", obs)), g, w["relation"][g.long()]


def value(w, rep):
    return embed(w, "judge", rep) @ w["value_w"] + w["value_b"]


def one_hot(w, acts):
    """acts: [b, N]; the start symbol, then each agent's predecessor."""
    rows = torch.zeros(*acts.shape, A + 1, dtype=w["act_w"].dtype)
    rows[:, 0, 0] = 1
    rows[:, 1:] = torch.nn.functional.one_hot(acts[:, :-1] + 1, A + 1).to(rows)
    return rows


def teacher(w, obs, acts):
    x, g, r = begin(w, obs)
    m = (g + torch.eye(N)).expand(len(obs), N, N)
    rep = encode(w, x, m, r)
    return {"score": decode(w, one_hot(w, acts), rep, m, r), "value": value(w, rep)}


def act(w, obs, available):
    x, g, r = begin(w, obs)
    listens = (x @ w["gate_w"] + w["gate_b"]).argmax(-1)
    m = listens[..., None] * g * (1 - torch.eye(N)) + torch.diag(1 + g.diagonal())
    rep = encode(w, x, m, r)
    acts, gap = torch.zeros(len(obs), N, dtype=torch.long), torch.tensor(torch.inf)
    for i in range(N):
        score = decode(w, one_hot(w, acts), rep, m, r)[:, i].masked_fill(~available[:, i], -1e10)
        acts[:, i] = score.argmax(-1)
        best = score.topk(2).values
        gap = min(gap, (best[:, 0] - best[:, 1]).min())
    assert gap > 1e-4, "a choice near a tie"
    return {"acts": acts.T, "value": value(w, rep), "listens": listens}


def heads(w, obs, acts):
    x, g, r = begin(w, obs)
    made = {}
    for name, mask in (("one", g + torch.eye(N)), ("central", torch.ones(N, N))):
        m = mask.expand(len(obs), N, N)
        made[name] = decode(w, one_hot(w, acts), encode(w, x, m, r), m, r, name)
    return made


def explore(w, obs, available, edges, noise):
    x, g, r = begin(w, obs, edges)
    m = (g + torch.eye(N)).expand(len(obs), N, N)
    rep, acts = encode(w, x, m, r), torch.zeros(len(obs), N, dtype=torch.long)
    for i in range(N):
        score = decode(w, one_hot(w, acts), rep, m, r)[:, i].masked_fill(~available[:, i], -1e10) + noise[:, i]
        acts[:, i] = score.argmax(-1)
        best = score.topk(2).values
        assert (best[:, 0] - best[:, 1]).min() > 1e-4, "a choice near a tie"
    return {"acts": acts.T}


def continuous(w, obs, noise):
    x, g, r = begin(w, obs)
    m = (g + torch.eye(N)).expand(len(obs), N, N)
    rep, acts = encode(w, x, m, r), torch.zeros(len(obs), N, A, dtype=torch.float64)
    for i in range(N):
        before = torch.cat([torch.zeros_like(acts[:, :1]), acts[:, :-1]], 1)
        mean = decode(w, before, rep, m, r, "means")[:, i]
        acts[:, i] = mean + 0.5 * torch.sigmoid(w["log_deviation"]) * noise[:, i]
    return {"acts": acts.transpose(0, 1)}


def attentions(w, x):
    g = graph(w)
    r, eye = w["relation"][g.long()], torch.eye(N)
    masks = {"twice": g + eye, "once": g * (1 - eye) + eye, "centralised": torch.ones(N, N)}
    made = {name: attention(w, "probe", x, x, m, r) for name, m in masks.items()}
    return made | {"plain": attention(w, "attn", x, x, g + eye)}


# Weights and golden values.


def weights():
    w = {}

    def draw(name, *shape, scale=0.5, around=0.0):
        w[name] = torch.randn(shape) * scale + around

    def add_norm(name, *shape):
        draw(name[0] + "scale" + name[1], *shape, scale=0.2, around=1)
        draw(name[0] + "shift" + name[1], *shape, scale=0.2)

    draw("logits", N, N)
    draw("relation", 2, D, scale=1)
    add_norm(("obs_", ""), O)
    draw("gate_w", D, 2)
    draw("gate_b", 2)
    draw("value_w", D)
    draw("value_b")
    for name, wide in {"observe": O, "judge": D}.items():
        draw(name + ".w", wide, D)
        draw(name + ".b", D)
    inner = [f"decode.norm{i}." for i in range(4)]
    for name in ("observe.norm.", "judge.norm.", "encode.norm1.", "encode.norm2.", *inner):
        add_norm((name, ""), D)
    for name in ("encode.rattn", "decode.own", "decode.across", "probe", "attn"):
        for n in "qkv":
            draw(f"{name}.w{n}", D, H, C)
            draw(f"{name}.b{n}", H, C)
        draw(name + ".wo", H, C, D)
        draw(name + ".bo", D)
        if name != "attn":
            draw(name + ".wr", D, 2, H, C)
            draw(name + ".br", 2, H, C)
    for name in ("encode.ffn", "decode.mlp"):
        for n in "12":
            draw(f"{name}.w{n}", D, D)
            draw(f"{name}.b{n}", D)
    draw("act_w", A + 1, D, scale=1)
    for head in ("own", "means"):
        for n, wide in {"1": D, "2": D, "3": A}.items():
            draw(f"{head}.w{n}", N, D, wide)
            draw(f"{head}.b{n}", N, wide)
            add_norm((f"{head}.", n), N, D)
    for name, *shape in (("one.mlp2.w1", D, D), ("one.mlp2.b1", D), ("one.mlp2.w2", D, D), ("one.mlp2.b2", D), ("one.w3", D, A),
                         ("one.b3", A), ("central.w1", D, D), ("central.b1", D), ("central.w2", D, A), ("central.b2", A),
                         ("real_w", A, D), ("real_b", D), ("log_deviation", A)):
        draw(name, *shape)
    for name in ("one.norm1.", "one.mlp2.norm2.", "one.norm3.", "central.norm."):
        add_norm((name, ""), D)
    return w


def main():
    torch.manual_seed(11)
    w = weights()
    more = HERE.parent / "11-commformer-more"
    only_more = ("means.", "one.", "central.", "real_", "log_deviation")
    save_file({name: v for name, v in w.items() if not name.startswith(only_more)}, HERE / "weights.safetensors")
    not_more = ("judge.", "gate_", "value_", "probe.", "attn.")
    save_file({name: v for name, v in w.items() if not name.startswith(not_more)}, more / "weights.safetensors")
    w = {name: v.double() for name, v in w.items()}
    golden = {}

    def add(prefix, **values):
        for name, v in values.items():
            v = v.int() if v.dtype == torch.int64 else v if v.dtype == torch.bool else v.float()
            golden[f"{prefix}.{name}"] = v.contiguous().clone()

    seen = set()
    for b in (1, 3, 17):
        obs, x, acts = torch.randn(b, N, O), torch.randn(b, N, D), torch.randint(A, (b, N))
        available = torch.rand(b, N, A) < 0.7
        available[..., 1] |= ~available.any(-1)
        add(f"teacher_b{b}", obs=obs, acts=acts, **teacher(w, obs.double(), acts))
        add(f"act_b{b}", obs=obs, available=available, **act(w, obs.double(), available))
        add(f"attention_b{b}", x=x, **attentions(w, x.double()))
        seen |= set(golden[f"act_b{b}.listens"].flatten().tolist())
        add(f"heads_b{b}", obs=obs, acts=acts, **heads(w, obs.double(), acts))
        noise, gumbel = torch.randn(b, N, A), lambda *shape: -torch.log(-torch.log(torch.rand(*shape)))
        add(f"continuous_b{b}", obs=obs, noise=noise, **continuous(w, obs.double(), noise.double()))
        edges, noise = gumbel(N, N), gumbel(b, N, A)
        drawn = explore(w, obs.double(), available, edges.double(), noise.double())
        add(f"explore_b{b}", obs=obs, available=available, edges=edges, noise=noise, **drawn)
    assert seen == {0, 1} and graph(w).diagonal().sum() > 0
    own = ("teacher", "act", "attention")
    save_file({name: v for name, v in golden.items() if name.startswith(own)}, HERE / "golden.safetensors")
    save_file({name: v for name, v in golden.items() if not name.startswith(own)}, more / "golden.safetensors")


MEDIUM = {"N": 8, "D": 64, "H": 1, "O": 64, "A": 12, "KEEP": 3, "C": 64}


def medium():
    """Eight agents of the published width in 32 places: one pass of the encoder, eight of the decoder."""
    torch.manual_seed(11)
    w = {name: value * (0.5 if value.dim() > 1 else 1) for name, value in weights().items()}
    w["logits"] = torch.randn(N, N)
    only_more = ("means.", "one.", "central.", "real_", "log_deviation")

    def network(w, x):
        acts = act(w, x["obs"], x["available"])
        return {"acts": acts["acts"], "value": acts["value"], "listens": acts["listens"]}

    return {
        "entry": "act", "weights": {name: value for name, value in w.items() if not name.startswith(only_more)},
        "inputs": {"obs": torch.randn(32, N, O), "available": torch.ones(32, N, A, dtype=torch.bool)}, "network": network,
        "axes": {"i": N, "d": D, "head": H, "k": D // H, "o": O, "action": A, "keep": KEEP},
    }


if __name__ == "__main__":
    main()
