"""The losses between embeddings, one pair or triplet at a time, straight from their definitions;
autograd gives the gradients."""

import torch
import torch.nn.functional as F

from .margin_loops import log_sum_exp, mean, norm


def unit_rows(rows):
    return [row / norm(row) for row in rows]


def distances(embedding, kind):
    """Lists [B][B]; 0 on the diagonal, which no triplet uses."""
    rows, zero = unit_rows(embedding), embedding.new_zeros(())
    out = [[zero] * len(rows) for _ in rows]
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if i != j:
                squared = sum(x * x for x in a - b)
                out[i][j] = squared if kind == "squared" else squared.sqrt()
    return out


def pairs_and_negatives(labels):
    """For every anchor the indices of its positives and of its negatives."""
    batch = range(len(labels))
    return [([p for p in batch if p != a and labels[p] == labels[a]],
             [n for n in batch if labels[n] != labels[a]]) for a in batch]


def select(d, labels, margin, selection):
    """(selected triplets, number considered); `d` holds numbers."""
    chosen, considered = [], 0
    for a, (positives, negatives) in enumerate(pairs_and_negatives(labels)):
        if not positives or not negatives:
            continue
        if selection == "hard":
            farthest = max(positives, key=lambda p: d[a][p])
            chosen.append((a, farthest, min(negatives, key=lambda n: d[a][n])))
            considered += 1
            continue
        for p in positives:
            if selection == "all":
                found = negatives
            elif selection == "vgg":
                found = [n for n in negatives if d[a][n] < d[a][p] + margin]
            elif selection == "semi_hard_random":
                found = [n for n in negatives if d[a][p] < d[a][n] < d[a][p] + margin]
                assert len(found) <= 1, "which one is a matter of chance"
            else:
                assert selection == "semi_hard_hardest"
                beyond = [n for n in negatives if d[a][n] > d[a][p]]
                nearest = min(beyond, key=lambda n: d[a][n], default=None)
                found = [max(negatives, key=lambda n: d[a][n]) if nearest is None else nearest]
            chosen += [(a, p, n) for n in found]
            considered += len(negatives) if selection in ("all", "vgg") else 1
    return chosen, considered


def no_kink(d, labels, margin):
    for a, (positives, negatives) in enumerate(pairs_and_negatives(labels)):
        for p in positives:
            for n in negatives:
                gap = d[a][n] - d[a][p]
                assert abs(gap) > 1e-6 and abs(gap - margin) > 1e-6, "too near the kink"


def triplet(x, config, smooth=True):
    margin, labels = config["margin"], x["labels"].tolist()
    d = distances(x["embedding"], config["distance"])
    numbers = [[value.item() for value in row] for row in d]
    if smooth:
        no_kink(numbers, labels, margin)
    chosen, considered = select(numbers, labels, margin, config["selection"])
    hinges = [torch.relu(d[a][p] - d[a][n] + margin) for a, p, n in chosen]
    active = sum(h.item() > 0 for h in hinges)
    pairs = sum(len(positives) for positives, _ in pairs_and_negatives(labels))
    divisor = {"selected": len(chosen), "nonzero": active, "positive_pairs": pairs}[config["mean"]]
    total = sum(hinges) if active else (x["embedding"] * 0.0).sum()
    return {"loss": total / max(divisor, 1),
            "active": torch.tensor(active / considered if considered else 0.0)}


def supcon(x, config):
    """Khosla et al. 2020, L_out; the mean is over the anchors that have a positive."""
    rows, labels, terms = unit_rows(x["embedding"]), x["labels"].tolist(), []
    for a, (positives, _) in enumerate(pairs_and_negatives(labels)):
        if positives:
            z = [(rows[a] * row).sum() / config["temperature"] for row in rows]
            everyone = log_sum_exp([v for j, v in enumerate(z) if j != a])
            terms.append(mean([everyone - z[p] for p in positives]))
    return {"loss": mean(terms) if terms else (x["embedding"] * 0.0).sum()}


def clip(x, config):
    images, texts = unit_rows(x["image"]), unit_rows(x["text"])
    rows = [[x["logit_scale"].exp() * (i * t).sum() for t in texts] for i in images]
    columns = list(zip(*rows, strict=True))
    one_way = [mean([log_sum_exp(r) - r[k] for k, r in enumerate(m)]) for m in (rows, columns)]
    return {"loss": mean(one_way)}


def siglip(x, config):
    images, texts = unit_rows(x["image"]), unit_rows(x["text"])
    total = 0.0
    for k, i in enumerate(images):
        for j, t in enumerate(texts):
            z = x["logit_scale"].exp() * (i * t).sum() + x["logit_bias"]
            total = total - F.logsigmoid(z if k == j else -z)
    return {"loss": total / len(images)}
