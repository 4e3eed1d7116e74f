"""What the losses between embeddings are fed."""

import math

import torch
import torch.nn.functional as F

from .inputs import tensor, with_norms
from .pair_loops import distances, pairs_and_negatives


def clustered(name, labels, spread, dim=6):
    """Embeddings around their class's weight."""
    labels = torch.tensor(labels)
    weight = tensor(f"{name}.weight", (int(labels.max()) + 1, dim))
    noise = tensor(f"{name}.noise", (len(labels), dim))
    embedding = weight[labels] + spread * noise
    embedding *= torch.linspace(0.3, 4.0, len(labels))[:, None]
    return {"embedding": embedding, "weight": weight, "labels": labels}


def candidates(x, distance, margin):
    """For every ordered positive pair its number of semi-hard negatives, and how near the
    distances come to a tie."""
    d = [[v.item() for v in row] for row in distances(x["embedding"], distance)]
    counts, gap = [], math.inf
    for a, (positives, negatives) in enumerate(pairs_and_negatives(x["labels"].tolist())):
        for p in positives:
            counts.append(sum(d[a][p] < d[a][n] < d[a][p] + margin for n in negatives))
            edges = [d[a][n] - d[a][p] for n in negatives]
            gap = min([gap] + [min(abs(e), abs(e - margin)) for e in edges])
    return counts, gap


def one_candidate_input():
    """The first batch in which no pair has a choice between semi-hard negatives, by either
    distance, and some pairs have one and others none."""
    for attempt in range(100_000):
        x = clustered(f"one_candidate.{attempt}", [0, 1, 2, 0, 1, 2, 0], 1.0, 4)
        found = [candidates(x, distance, 0.2) for distance in ("squared", "euclidean")]
        if all(gap > 1e-3 and max(counts) == 1 and 3 <= sum(counts) < len(counts)
               for counts, gap in found):
            return x
    raise AssertionError("no such batch")


def duplicates_input():
    """Two equal embeddings in one class, and one of them in another class too."""
    x = clustered("duplicates", [0, 0, 0, 1, 1, 2], 0.5)
    x["embedding"][1] = x["embedding"][0]
    x["embedding"][3] = 2.0 * x["embedding"][0]
    return x


def towers(name, batch, dim=5, scale=math.log(1 / 0.07), bias=None, norms=None):
    """Image and text embeddings that agree partly."""
    image, noise = (tensor(f"{name}.{tower}", (batch, dim)) for tower in ("image", "text"))
    text = F.normalize(image) + 0.8 * noise
    if norms is not None:
        image, text = with_norms(image, norms), with_norms(text, norms[::-1])
    out = {"image": image, "text": text, "logit_scale": torch.tensor(scale)}
    return out if bias is None else out | {"logit_bias": torch.tensor(bias)}


def pair_inputs():
    norms = [2e-12, 1e-9, 1e-6, 1.0, 1e6, 1e9, 1e12]
    return {
        "pk": clustered("pk", [2, 0, 3, 1, 1, 3, 0, 2, 0, 3, 2, 1], 1.1),
        "uneven": clustered("uneven", [0, 1, 1, 2, 2, 2, 3, 4, 4, 4, 4], 1.2),
        "distinct": clustered("distinct", [0, 1, 2, 3], 1.0),
        "one_candidate": one_candidate_input(), "duplicates": duplicates_input(),
        "separate": clustered("separate", [0, 0, 1, 1, 2, 2], 0.02),
        "clip": towers("clip", 8), "clip_hot": towers("clip_hot", 6, scale=math.log(100.0)),
        "clip_norms": towers("clip_norms", 7, norms=norms), "clip_single": towers("clip_single", 1),
        "siglip": towers("siglip", 8, scale=math.log(10.0), bias=-10.0),
        "siglip_moved": towers("siglip_moved", 6, scale=1.0, bias=-2.5),
        "siglip_norms": towers("siglip_norms", 7, scale=math.log(10.0), bias=-10.0, norms=norms),
        "siglip_single": towers("siglip_single", 1, scale=math.log(10.0), bias=-10.0),
    }
