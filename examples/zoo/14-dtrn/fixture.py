"""Golden values of DTRN: python fixture.py     (pip install torch numpy safetensors)

PyTorch in float64 on float32 weights: user by user, task by task, and each sequence cut to its length, so that
nothing is masked.
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
TASKS, ACTS, E, HEADS, FIELDS, EXPERTS, H, WORDS, OWN, COMMON = 2, 3, 8, 2, 3, 3, 8, 20, 2, 2
PLACES = FIELDS + ACTS


def conditional_norm(w, n, task, act, z):
    """Its scale and shift come from a small network of the task and the act."""
    code = torch.cat([w["interest.conditions.task_code"][task], w["interest.conditions.act_code"][act]])
    w1, b1, w2, b2 = (w[f"interest.conditions.{name}"][n] for name in ("w1", "b1", "w2", "b2"))
    hidden = F.relu(w1 @ code + b1)
    gamma, beta = 1 + w2[0] @ hidden + b2[0], w2[1] @ hidden + b2[1]
    return F.layer_norm(z, [E], gamma, beta, 1e-5)


def interest(w, task, act, x, target):
    """x: [t, e], without padding; target: [e]."""
    if len(x) == 0:
        return torch.zeros(E).double()
    own = {name[9:]: value for name, value in w.items() if name.startswith("interest.")}
    heads = []
    for n in range(HEADS):
        q, k, v = (x @ own[name][n].T for name in ("wq", "wk", "wv"))
        heads.append(torch.softmax(q @ k.T / (E // HEADS) ** 0.5, -1) @ v)
    y = torch.cat(heads, -1) @ own["wo"].reshape(E, E).T
    z = conditional_norm(w, 0, task, act, x + y)
    y = F.relu(z @ own["w3"].T + own["b3"]) @ own["w4"].T + own["b4"]
    z = conditional_norm(w, 1, task, act, z + y)
    a = torch.softmax((z @ own["pool_k"].T) @ (own["pool_q"] @ target) / E**0.5, 0)
    return a @ (z @ own["pool_v"].T)


def mmoe(w, task, x):
    gate = torch.softmax(w["with_mmoe.gate"][task].flatten(1) @ x, 0)
    return gate @ F.relu(w["with_mmoe.w"].flatten(2) @ x + w["with_mmoe.bias"])


def ple(w, task, x):
    gate = torch.softmax(w["with_ple.gate"][task].flatten(1) @ x, 0)
    experts = [*zip(w["with_ple.own"][task], w["with_ple.own_bias"][task]), *zip(w["with_ple.common"], w["with_ple.common_bias"])]
    return sum(g * F.relu(m.flatten(1) @ x + b) for g, (m, b) in zip(gate, experts))


def logits(w, head, field_ids, item_ids, length, target_id, most=1.0):
    out = torch.zeros(len(field_ids), TASKS).double()
    for b in range(len(out)):
        fields = [w["fields"][n, i] for n, i in enumerate(field_ids[b])]
        sequences = [w["items"][item_ids[b, act, : length[b, act]].long()] for act in range(ACTS)]
        for task in range(TASKS):
            u = [interest(w, task, act, x, w["items"][target_id[b]]) for act, x in enumerate(sequences)]
            z = torch.stack(fields + u)
            hidden = F.relu(w["refine.v1"][task].flatten(1) @ z.flatten() + w["refine.d1"][task])
            z = z * most * torch.sigmoid(w["refine.v2"][task] @ hidden + w["refine.d2"][task])[:, None]
            t = f"with_{head.__name__}.towers"
            tower = F.relu(w[f"{t}.w5"][task] @ head(w, task, z.flatten()) + w[f"{t}.b5"][task])
            out[b, task] = w[f"{t}.w6"][task] @ tower + w[f"{t}.b6"][task]
    return out


def cross_entropy(o, label):
    total = torch.zeros(()).double()
    for task in range(TASKS):
        known = label[:, task] >= 0
        if known.any():
            total += F.binary_cross_entropy_with_logits(o[known, task], label[known, task].double())
    return total


# Weights and golden values.


def weights():
    w = {}

    def matrices(*names, fan, shape):
        w.update({name: torch.randn(*shape) * fan**-0.5 for name in names})

    def vectors(*names, shape):
        w.update({name: 0.2 * torch.randn(*shape) for name in names})

    matrices("fields", fan=1, shape=(FIELDS, WORDS, E))
    matrices("items", fan=1, shape=(WORDS, E))
    matrices("interest.wq", "interest.wk", "interest.wv", fan=E, shape=(HEADS, E // HEADS, E))
    matrices("interest.wo", fan=E, shape=(E, HEADS, E // HEADS))
    matrices("interest.w3", fan=E, shape=(H, E))
    matrices("interest.w4", fan=H, shape=(E, H))
    matrices("interest.pool_q", "interest.pool_k", "interest.pool_v", fan=E, shape=(E, E))
    vectors("interest.b3", shape=(H,))
    vectors("interest.b4", shape=(E,))
    matrices("interest.conditions.task_code", fan=1, shape=(TASKS, E))
    matrices("interest.conditions.act_code", fan=1, shape=(ACTS, E))
    matrices("interest.conditions.w1", fan=2 * E, shape=(2, H, 2 * E))
    matrices("interest.conditions.w2", fan=4 * H, shape=(2, 2, E, H))
    vectors("interest.conditions.b1", shape=(2, H))
    vectors("interest.conditions.b2", shape=(2, 2, E))
    matrices("refine.v1", fan=PLACES * E, shape=(TASKS, PLACES, PLACES, E))
    matrices("refine.v2", fan=PLACES, shape=(TASKS, PLACES, PLACES))
    vectors("refine.d1", "refine.d2", shape=(TASKS, PLACES))
    matrices("with_mmoe.gate", fan=PLACES * E, shape=(TASKS, EXPERTS, PLACES, E))
    matrices("with_mmoe.w", fan=PLACES * E, shape=(EXPERTS, H, PLACES, E))
    vectors("with_mmoe.bias", shape=(EXPERTS, H))
    matrices("with_mmoe.towers.w5", fan=H, shape=(TASKS, H, H))
    matrices("with_mmoe.towers.w6", fan=H, shape=(TASKS, H))
    vectors("with_mmoe.towers.b5", shape=(TASKS, H))
    vectors("with_mmoe.towers.b6", shape=(TASKS,))
    matrices("with_ple.gate", fan=PLACES * E, shape=(TASKS, OWN + COMMON, PLACES, E))
    matrices("with_ple.own", fan=PLACES * E, shape=(TASKS, OWN, H, PLACES, E))
    matrices("with_ple.common", fan=PLACES * E, shape=(COMMON, H, PLACES, E))
    vectors("with_ple.own_bias", shape=(TASKS, OWN, H))
    vectors("with_ple.common_bias", shape=(COMMON, H))
    matrices("with_ple.towers.w5", fan=H, shape=(TASKS, H, H))
    matrices("with_ple.towers.w6", fan=H, shape=(TASKS, H))
    vectors("with_ple.towers.b5", shape=(TASKS, H))
    vectors("with_ple.towers.b6", shape=(TASKS,))
    return w


def main():
    torch.manual_seed(14)
    w = weights()
    double = {name: value.double() for name, value in w.items()}
    golden = {}

    def ids(*shape):
        return torch.randint(WORDS, shape, dtype=torch.int32)

    def add(prefix, length, steps):
        length = torch.tensor(length, dtype=torch.int32).reshape(-1, ACTS)
        batch = len(length)
        given = dict(field_ids=ids(batch, FIELDS), item_ids=ids(batch, ACTS, steps))
        given |= dict(length=length, target_id=ids(batch))
        label = torch.randint(-1, 2, (batch, TASKS), dtype=torch.int32)
        if batch == 1:
            label[:, 0] = -1  # a task without any label
        o = logits(double, mmoe, **given)
        golden[f"{prefix}.most"] = torch.tensor(2.0)
        golden[f"{prefix}.ple"] = torch.sigmoid(logits(double, ple, **given, most=2.0)).float()
        for name, value in (given | {"label": label, "p": torch.sigmoid(o), "loss": cross_entropy(o, label)}).items():
            golden[f"{prefix}.{name}"] = value.float() if value.is_floating_point() else value

    add("b4", [[5, 2, 0], [1, 5, 3], [4, 4, 5], [0, 0, 1]], 5)
    add("b1", [[7, 3, 6]], 7)
    add("b3", [[9, 33, 17], [0, 0, 0], [33, 1, 32]], 33)  # the second user did nothing
    add("t0", [[0, 0, 0], [0, 0, 0]], 0)
    own = {(name if name.startswith("with_") else f"net.{name}"): value for name, value in w.items()}
    save_file(own, HERE / "weights.safetensors")
    save_file(golden, HERE / "golden.safetensors")


MEDIUM = {"TASKS": 2, "E": 32, "FIELDS": 20, "EXPERTS": 8, "H": 128, "WORDS": 1000, "PLACES": 23}


def medium():
    """Sixty-four users with up to 50 acts of each kind: all tasks and kinds of acts at once, by masks."""
    torch.manual_seed(14)
    own = {(name if name.startswith("with_") else f"net.{name}"): value * 0.5 for name, value in weights().items()}

    def attend(w, items, length, target):
        """items: [b, act, t, e]; gives [b, task, act, e]."""
        n = {name[13:]: value for name, value in w.items() if name.startswith("net.interest.")}
        known = torch.arange(items.shape[2]) < length[..., None]
        def heads(m):
            return torch.einsum("bate,hke->bahtk", items, n[m])
        q, k, v = heads("wq"), heads("wk"), heads("wv")
        score = (q @ k.mT / (E // HEADS) ** 0.5).masked_fill(~known[:, :, None, None], -torch.inf)
        seen = torch.nan_to_num(torch.softmax(score, -1)) @ v
        z = items + torch.einsum("bahtk,ehk->bate", seen, n["wo"])
        code = torch.cat([n["conditions.task_code"][:, None].expand(-1, ACTS, -1),
                          n["conditions.act_code"][None].expand(TASKS, -1, -1)], -1)
        hidden = torch.relu(torch.einsum("sac,nhc->nsah", code, n["conditions.w1"]) + n["conditions.b1"][:, None, None])
        c = torch.einsum("nsah,npeh->npsae", hidden, n["conditions.w2"]) + n["conditions.b2"][:, :, None, None]
        z = F.layer_norm(z, [E])[:, None] * (1 + c[0, 0, :, :, None]) + c[0, 1, :, :, None]
        z = z + F.linear(F.relu(F.linear(z, n["w3"], n["b3"])), n["w4"], n["b4"])
        z = F.layer_norm(z, [E]) * (1 + c[1, 0, :, :, None]) + c[1, 1, :, :, None]
        asked = torch.einsum("bstaf,bf->bsta", (z @ n["pool_k"].T), target @ n["pool_q"].T) / E**0.5
        asked = asked.masked_fill(~known[:, None], -torch.inf)
        pooled = torch.einsum("bsat,bsate->bsae", torch.nan_to_num(torch.softmax(asked, -1)), z @ n["pool_v"].T)
        return pooled

    def network(w, x):
        u = attend(w, w["net.items"][x["item_ids"]], x["length"], w["net.items"][x["target_id"]])
        fields = w["net.fields"][torch.arange(FIELDS), x["field_ids"]]
        z = torch.cat([fields[:, None].expand(-1, TASKS, -1, -1), u], 2)
        hidden = F.relu(torch.einsum("btpe,tspe->bts", z, w["net.refine.v1"]) + w["net.refine.d1"])
        z = z * torch.sigmoid(torch.einsum("bts,tps->btp", hidden, w["net.refine.v2"]) + w["net.refine.d2"])[..., None]
        gate = torch.softmax(torch.einsum("btpe,tnpe->btn", z, w["with_mmoe.gate"]), -1)
        experts = F.relu(torch.einsum("btpe,nhpe->btnh", z, w["with_mmoe.w"]) + w["with_mmoe.bias"])
        mixed = torch.einsum("btn,btnh->bth", gate, experts)
        tower = F.relu(torch.einsum("bth,tgh->btg", mixed, w["with_mmoe.towers.w5"]) + w["with_mmoe.towers.b5"])
        return {"p": torch.sigmoid((tower * w["with_mmoe.towers.w6"]).sum(-1) + w["with_mmoe.towers.b6"])}

    inputs = {"field_ids": torch.randint(WORDS, (64, FIELDS)), "item_ids": torch.randint(WORDS, (64, ACTS, 50)),
              "length": torch.randint(1, 51, (64, ACTS)), "target_id": torch.randint(WORDS, (64,))}
    axes = {"e": E, "k": E // HEADS, "field": FIELDS, "expert": EXPERTS, "h": H, "word": WORDS}
    return {"entry": "predict", "weights": own, "inputs": inputs, "network": network, "axes": axes}


if __name__ == "__main__":
    main()
