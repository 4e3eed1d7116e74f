"""Fixtures for tests/parity_retrieval.rs: faiss's flat indexes, pytorch-metric-learning's accuracy
calculator, scikit-learn's average precision, and Recall@k and CMC counted in NumPy.

    python tools/parity/retrieval.py

Versions: tools/parity/requirements.txt. Embeddings are made by `rows`, whose twin is in the test, so
that only results are stored.
"""

import json
import os
import pathlib

os.environ["OMP_NUM_THREADS"] = "1"

import faiss
import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from pytorch_metric_learning.distances import LpDistance
from sklearn.metrics import average_precision_score

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE / "../../tests/fixtures/retrieval"
MASK = (1 << 64) - 1


def mix(word):
    """SplitMix64's output function."""
    z = (word + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def rows(kind, seed, count, dim):
    """Exact in float32. `smooth`: 24 bits in -1..1; `coarse`: -1, 0 or 1, so that ties are many and
    every sum is exact; `near`: pairs of rows that differ by 2^-20 in one element, about 8."""
    out = np.zeros((count, dim), np.float32)
    for i in range(count):
        for j in range(dim):
            if kind == "near":
                whole = mix((seed << 40) | ((i // 2) << 16) | j) >> 60
                out[i, j] = 8 + whole / 16 + (i % 2) * (j == i % dim) * 2.0**-20
                continue
            word = mix((seed << 40) | (i << 16) | j)
            out[i, j] = (word >> 40) / 2.0**23 - 1 if kind == "smooth" else word % 3 - 1.0
    if kind == "coarse":
        out[:, 0] = 1  # none is zero
    return out


def unit(values):
    values = values.astype(np.float64)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def top_k():
    cases = []
    # Distances by subtraction; faiss's matrix product cancels digits.
    faiss.cvar.distance_compute_blas_threshold = 1 << 30
    for name, kind, queries, gallery, dim, k in [
        ("smooth", "smooth", 30, 500, 64, 10),
        ("odd dimension", "smooth", 7, 333, 37, 5),
        ("ties", "coarse", 40, 400, 6, 25),
        ("duplicates", "coarse", 20, 300, 3, 60),
        ("near duplicates", "near", 24, 120, 16, 8),
        ("k beyond the gallery", "smooth", 5, 12, 16, 20),
        ("one dimension", "coarse", 4, 9, 1, 9),
    ]:
        q, g = rows(kind, 1, queries, dim), rows(kind, 1 if kind == "near" else 2, gallery, dim)
        l2, ip = faiss.IndexFlatL2(dim), faiss.IndexFlatIP(dim)
        l2.add(g)
        ip.add(unit(g))
        distances, nearest = l2.search(q, k)
        cosines, similar = ip.search(unit(q), k)
        kept = min(k, gallery)
        cases.append({
            "name": name, "kind": kind, "queries": queries, "gallery": gallery, "dim": dim, "k": k,
            "seeds": [1, 1 if kind == "near" else 2],
            "l2": {"indices": nearest[:, :kept].ravel().tolist(),
                   "scores": [float(x) for x in distances[:, :kept].ravel()]},
            "ip": {"indices": similar[:, :kept].ravel().tolist(),
                   "scores": [round(float(x), 9) for x in cosines[:, :kept].ravel()]},
        })
    return cases


def numpy_metrics(q, g, q_labels, g_labels, same, ks):
    """By sorting whole rows. Queries without a relevant image are left out."""
    recall, precisions = {k: [] for k in ks}, []
    left_out = 0
    for i in range(len(q)):
        distance = ((q[i].astype(np.float64) - g.astype(np.float64)) ** 2).sum(1)
        order = np.lexsort((np.arange(len(g)), distance.astype(np.float32)))
        order = order[order != i] if same else order
        relevant = g_labels[order] == q_labels[i]
        if not relevant.any():
            left_out += 1
            continue
        for k in ks:
            recall[k].append(bool(relevant[:k].any()))
        # Scores without ties, in the order above.
        precisions.append(average_precision_score(relevant, -np.arange(len(order))))
    return {"left_out": left_out, "recall": {k: float(np.mean(v)) for k, v in recall.items()},
            "map_sklearn": float(np.mean(precisions))}


def accuracy():
    """Euclidean distances of `smooth` rows that lean towards their identity."""
    cases = []
    for name, queries, gallery, dim, classes, seed in [
        ("gallery of its own", 60, 150, 8, 12, 11),
        ("queries are the gallery", 120, 0, 8, 15, 13),
        ("classes of one image", 80, 0, 4, 40, 17),
        ("identities without a match", 50, 40, 8, 30, 19),
        ("two classes", 40, 60, 2, 2, 23),
    ]:
        centres = rows("smooth", seed, classes, dim)

        def make(seed, count):
            labels = np.array([mix((seed << 40) | i) % classes for i in range(count)])
            # One rounding, the same in any language.
            return centres[labels] / np.float32(2) + rows("smooth", seed, count, dim), labels

        same = gallery == 0
        q, q_labels = make(seed + 1, queries)
        g, g_labels = (q, q_labels) if same else make(seed + 2, gallery)
        knn = CustomKNN(LpDistance(normalize_embeddings=False, power=2), batch_size=None)
        results = {}
        for k in (None, "max_bin_count"):
            # "max_bin_count" is enough for what counts the first R only; mean_average_precision
            # wants the whole ranking.
            include = (("mean_average_precision",) if k is None else
                       ("precision_at_1", "r_precision", "mean_average_precision_at_r"))
            calculator = AccuracyCalculator(include=include, k=k, device=torch.device("cpu"),
                                            knn_func=knn)
            results |= calculator.get_accuracy(
                torch.from_numpy(q).double(), torch.from_numpy(q_labels),
                torch.from_numpy(g).double(), torch.from_numpy(g_labels), ref_includes_query=same)
        ks = [1, 2, 5, 10]
        cases.append({"name": name, "queries": queries, "gallery": gallery, "dim": dim,
                      "classes": classes, "seed": seed, "pytorch_metric_learning": results,
                      **numpy_metrics(q, g, q_labels, g_labels, same, ks)})
    return cases


def write(name, value):
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(json.dumps(value) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    write("top_k.json", top_k())
    write("accuracy.json", accuracy())
