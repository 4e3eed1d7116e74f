"""The losses over class weights, one sample and one class at a time, straight from the papers'
formulas; autograd gives the gradients. Shares no code with `margin_softmax.py`."""

import math

import torch


def norm(vector):
    return sum(x * x for x in vector).sqrt()


def mean(values):
    return sum(values) / len(values)


def log_sum_exp(values):
    largest = max(v.item() for v in values)
    return largest + torch.log(sum(torch.exp(v - largest) for v in values))


def cross_entropy(rows, labels):
    """Mean of -log softmax at the label; `rows` are lists of logits."""
    return mean([log_sum_exp(row) - row[y] for row, y in zip(rows, labels, strict=True)])


def angle(cosine):
    return torch.acos(cosine.clamp(-1.0, 1.0))  # a rounded cosine may pass 1


def psi(theta, m):
    """(-1)^k cos(m theta) - 2 k on [k pi / m, (k + 1) pi / m]."""
    k = math.floor(m * theta.item() / math.pi)
    return (-1) ** k * torch.cos(m * theta) - 2 * k


def additive_angle(cosine, config):
    """cos(theta + m), and the rule past pi."""
    m, theta = config["margin"], angle(cosine)
    if config.get("easy_margin"):
        return torch.cos(theta + m) if cosine.item() > 0 else cosine
    if theta.item() + m < math.pi or config["boundary"] == "none":
        return torch.cos(theta + m)
    if config["boundary"] == "clip":
        return cosine * 0.0 - 1.0
    assert config["boundary"] == "line"
    return cosine - m * math.sin(math.pi - m)


def combined(cosine, config):
    return torch.cos(config["m1"] * angle(cosine) + config["m2"]) - config["m3"]


# Kinds whose target logit is a function of the target's cosine alone.
TARGETS = {
    "norm_softmax": lambda c, config: c,
    "cosface": lambda c, config: c - config["margin"],
    "arcface": additive_angle,
    "subcenter_arcface": additive_angle,
    "combined": combined,
    "multiplicative": lambda c, config: torch.cos(config["margin"] * angle(c)),
    "sphereface_r": lambda c, config: psi(angle(c), config["margin"]),
}


def cosines(embedding, weight, subcenters=1):
    """Lists [B][C]; with sub-centres the largest of the rows c K .. c K + K - 1."""
    unit_rows = [row / norm(row) for row in weight]
    out = []
    for sample in embedding:
        unit = sample / norm(sample)
        row = [(unit * w).sum() for w in unit_rows]
        if subcenters > 1:
            row = [max(row[i:i + subcenters], key=lambda c: c.item())
                   for i in range(0, len(row), subcenters)]
        out.append(row)
    return out


def statistics(cosine, labels):
    """`target_cosine`, and `top_cosine` where there is a second class."""
    out = {"target_cosine": mean([row[y] for row, y in zip(cosine, labels)])}
    if len(cosine[0]) > 1:
        others = [[c for j, c in enumerate(row) if j != y] for row, y in zip(cosine, labels)]
        out["top_cosine"] = mean([max(row, key=lambda c: c.item()) for row in others])
    return out


def simple(x, kind, config):
    labels = x["labels"].tolist()
    cosine = cosines(x["embedding"], x["weight"], config.get("subcenters", 1))
    # sphereface_r has no key for it: its authors' gradient is the detached one.
    detached = config.get("gradient") == "detached" or kind == "sphereface_r"
    rows = [list(row) for row in cosine]
    for row, y in zip(rows, labels):
        moved = TARGETS[kind](row[y], config)
        row[y] = row[y] + (moved - row[y]).detach() if detached else moved
    rows = [[config["scale"] * c for c in row] for row in rows]
    return {"loss": cross_entropy(rows, labels)} | statistics(cosine, labels)


def sphereface(x, config, state):
    """`weight` is taken as projected already: the caller projects, then differentiates."""
    labels = x["labels"].tolist()
    iteration = state["iteration"] + 1
    decay = (1 + config["lambda_gamma"] * iteration) ** -config["lambda_power"]
    lam = max(config["lambda_min"], config["lambda_base"] * decay)
    rows, cosine = [], []
    for sample, y in zip(x["embedding"], labels):
        length = norm(sample)
        row = [(sample * w).sum() for w in x["weight"]]
        cosine.append([product / length for product in row])
        moved = psi(angle(cosine[-1][y]), config["margin"])
        row[y] = length * (lam * cosine[-1][y] + moved) / (1 + lam)
        rows.append(row)
    out = {"loss": cross_entropy(rows, labels)} | statistics(cosine, labels)
    return out | {"state.iteration": torch.tensor(float(iteration))}


def curricularface(x, config, state, train):
    labels, m, s = x["labels"].tolist(), config["margin"], config["scale"]
    cosine = cosines(x["embedding"], x["weight"])
    t = state["t"]
    if train:
        t = 0.01 * mean([row[y].item() for row, y in zip(cosine, labels)]) + 0.99 * t
    rows = []
    for row, y in zip(cosine, labels):
        bar = math.cos(angle(row[y]).item() + m)
        for c in row:
            assert c is row[y] or abs(c.item() - bar) > 1e-6, "too near the kink"
        row = [c * (t + c) if j != y and c.item() > bar else c for j, c in enumerate(row)]
        row[y] = additive_angle(row[y], {"margin": m, "boundary": "line"})
        rows.append([s * c for c in row])
    out = {"loss": cross_entropy(rows, labels)} | statistics(cosine, labels)
    return out | {"state.t": torch.tensor(t)}


def adaface(x, config, state, train):
    labels, m, weight = x["labels"].tolist(), config["margin"], config["t_alpha"]
    cosine = cosines(x["embedding"], x["weight"])
    norms = [min(max(norm(sample).item(), 0.001), 100.0) for sample in x["embedding"]]
    mu, deviation = state["mean"], state["std"]
    if train:
        batch_mean = mean(norms)
        mu = weight * batch_mean + (1 - weight) * mu
        if len(norms) > 1:
            variance = sum((n - batch_mean) ** 2 for n in norms) / (len(norms) - 1)
            deviation = weight * math.sqrt(variance) + (1 - weight) * deviation
    rows = []
    for row, y, n in zip(cosine, labels, norms):
        z = min(max(config["h"] * (n - mu) / (deviation + 1e-3), -1.0), 1.0)
        clipped = [c.clamp(-1.0 + 1e-3, 1.0 - 1e-3) for c in row]
        shifted = torch.acos(clipped[y]) - m * z
        for edge in (1e-3, math.pi - 1e-3):
            assert abs(shifted.item() - edge) > 1e-6, "too near the kink"
        clipped[y] = torch.cos(shifted.clamp(1e-3, math.pi - 1e-3)) - (m + m * z)
        rows.append([config["scale"] * c for c in clipped])
    out = {"loss": cross_entropy(rows, labels)} | statistics(cosine, labels)
    return out | {"state.mean": torch.tensor(mu), "state.std": torch.tensor(deviation)}


def softmax(x, config):
    """cross_entropy: W x + b; the smoothed target has (1 - a) at the label and a / C everywhere."""
    a, labels, rows = config["label_smoothing"], x["labels"].tolist(), []
    for sample in x["embedding"]:
        rows.append([(sample * w).sum() + b for w, b in zip(x["weight"], x["bias"])])
    uniform = mean([mean([log_sum_exp(row) - z for z in row]) for row in rows])
    return {"loss": (1 - a) * cross_entropy(rows, labels) + a * uniform}


def margin_loss(x, kind, config, state, train):
    """`{loss, target_cosine, top_cosine, state.*}` for the leaves `x`."""
    if kind == "cross_entropy":
        return softmax(x, config)
    if kind == "sphereface":
        return sphereface(x, config, state)
    if kind == "curricularface":
        return curricularface(x, config, state, train)
    if kind == "adaface":
        return adaface(x, config, state, train)
    return simple(x, kind, config)
