"""Fixtures for tests/verification.rs: the LFW protocol in NumPy, with scikit-learn's folds and ROC.

    python tools/parity/verification.py tests/fixtures/evaluate
    python tools/parity/verification.py tests/fixtures/evaluate --mobilefacenet ../shared/data

Versions: tools/parity/requirements.txt. The protocol is FaceNet's (src/facenet.py, src/lfw.py)
and InsightFace's (eval/verification.py), brute force over folds and thresholds; VAL@FAR uses
numpy.interp, since SciPy's spline fails on plateaus. Nothing here is shared with the Rust code
but the generator of scores, which is exact in IEEE arithmetic.
"""

import argparse
import csv
import io
import json
import pickle
from pathlib import Path

import numpy as np
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold

TARS = (1e-1, 1e-2, 1e-3, 1e-4)
MASK = (1 << 64) - 1


def protocol(distances, same, folds=10):
    """All numbers of one set of pairs. Rates are fractions, distances squared L2."""
    distances, same = np.asarray(distances, np.float64), np.asarray(same, bool)
    grid, fine = np.arange(0, 4, 0.01), np.arange(0, 4, 0.001)
    accuracies, thresholds, vals, fars = [], [], [], []
    val_defined = True
    for train, test in KFold(n_splits=folds, shuffle=False).split(distances):
        right = (distances[train] < grid[:, None]) == same[train]
        best = np.argmax(right.mean(axis=1))
        accuracies.append(np.mean((distances[test] < grid[best]) == same[test]))
        thresholds.append(grid[best])
        if same[test].all() or not same[test].any():
            val_defined = False
            continue
        impostors = distances[train][~same[train]]
        far = (impostors < fine[:, None]).mean(axis=1)
        threshold = np.interp(1e-3, far, fine) if far.max() >= 1e-3 else 0.0
        vals.append(np.mean(distances[test][same[test]] < threshold))
        fars.append(np.mean(distances[test][~same[test]] < threshold))
    over_all = ((distances < grid[:, None]) == same).mean(axis=1)
    # scikit-learn wants scores that rise with sameness.
    fpr, tpr, _ = roc_curve(same, -distances, drop_intermediate=False)
    eer = brentq(lambda x: x - 1 + interp1d(fpr, tpr)(x), 0, 1, xtol=1e-15) if unique(fpr) else \
        crossing(fpr, tpr)
    impostors, genuine = np.sort(distances[~same]), distances[same]
    tars = []
    for rate in TARS:
        k = int(np.floor(rate * len(impostors)))
        tars.append(float(np.mean(genuine < impostors[k])))
    return {
        "accuracy": float(np.mean(accuracies)),
        "std": float(np.std(accuracies)),
        "per_fold": [float(a) for a in accuracies],
        "thresholds": [float(t) for t in thresholds],
        "threshold": float(grid[np.argmax(over_all)]),
        "auc": float(roc_auc_score(same, -distances)),
        "eer": float(eer),
        "val": float(np.mean(vals)) if val_defined else None,
        "val_std": float(np.std(vals)) if val_defined else None,
        "far": float(np.mean(fars)) if val_defined else None,
        "tar": tars,
    }


def unique(fpr):
    """Whether the ROC is a function of FPR, so that SciPy may interpolate it."""
    return len(np.unique(fpr)) == len(fpr)


def crossing(fpr, tpr):
    """Where FPR + TPR, which rises strictly along the ROC, passes 1."""
    return np.interp(1.0, fpr + tpr, fpr)


def splitmix(seed):
    """SplitMix64 as uniform numbers in [0, 1), the same bits as in tests/verification.rs."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield ((z ^ (z >> 31)) >> 11) * 2.0**-53


def score_set(seed):
    """Distances and labels of set `seed`: random, tied, constant, separable or with duplicates."""
    draw = splitmix(seed)
    pairs = 40 + int(next(draw) * 90.0)
    distances, same = [], []
    for i in range(pairs):
        genuine = next(draw) < 0.5
        u = next(draw)
        kind = seed % 5
        if kind == 0:
            distance = u * 2.5 if genuine else 0.5 + u * 3.5
        elif kind == 1:
            distance = int(u * 12.0) / 8.0 + (0.0 if genuine else 0.25)
        elif kind == 2:
            distance = 1.25 if seed % 2 == 0 else float(genuine)
        elif kind == 3:
            distance = u if genuine else 1.5 + u
        else:
            distance = distances[int(u * i)] if i > 8 and u < 0.5 else u * 4.0
        distances.append(distance)
        same.append(genuine)
    return distances, same


def write_scores(folder, count=1000):
    with open(folder / "scores.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow("seed,accuracy,std,right_per_fold,threshold_steps,threshold_step,auc,eer,val,"
                      "val_std,far,tar1,tar2,tar3,tar4".split(","))
        for seed in range(count):
            distances, same = score_set(seed)
            r = protocol(distances, same)
            sizes = [len(test) for _, test in KFold(10).split(distances)]
            short = lambda v: "" if v is None else f"{v:.13g}"
            rows.writerow([seed, short(r["accuracy"]), short(r["std"]),
                           " ".join(str(round(a * n)) for a, n in zip(r["per_fold"], sizes)),
                           " ".join(str(round(t * 100)) for t in r["thresholds"]),
                           round(r["threshold"] * 100), short(r["auc"]), short(r["eer"]),
                           short(r["val"]), short(r["val_std"]), short(r["far"]),
                           *(short(t) for t in r["tar"])])


def write_roc(folder):
    """Every point of scikit-learn's ROC for one set of each kind, and the area under it."""
    cases = []
    for seed in range(5, 10):
        distances, same = score_set(seed)
        scores = -np.asarray(distances)
        fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
        cases.append({"seed": seed, "far": fpr.tolist(), "tar": tpr.tolist(),
                      "auc": float(roc_auc_score(same, scores))})
    (folder / "roc.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def write_view1(folder):
    """LFW's View 1: the threshold of one set of pairs scores another one."""
    grid = np.arange(0, 4, 0.01)
    cases = []
    for seed in range(60):
        tuning, tuning_same = map(np.asarray, score_set(1000 + seed))
        distances, same = map(np.asarray, score_set(2000 + (seed * 7) % 60))
        if 0 in (same.sum(), (~same).sum(), tuning_same.sum(), (~tuning_same).sum()):
            continue
        right = ((tuning < grid[:, None]) == tuning_same).sum(axis=1)
        step = int(np.flatnonzero(right == right.max())[0])
        cases.append({
            "seed": seed, "step": step, "right": int(((distances < grid[step]) == same).sum()),
            "auc": float(roc_auc_score(same, -distances)),
        })
    (folder / "view1.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def write_fine_tar(folder, genuine=2000, impostors=200_000):
    """TAR at false accept rates that only many impostor pairs resolve."""
    draw = splitmix(77)
    near = np.array([next(draw) ** 2 for _ in range(genuine)]) * 2
    far = np.sqrt(np.array([next(draw) for _ in range(impostors)])) * 4
    # The threshold by partition of the impostors, not by their order.
    tar = {f"1e-{n}": float(np.mean(near < np.partition(far, k)[k]))
           for n, k in ((1, impostors // 10), (2, impostors // 100), (3, impostors // 1000),
                        (4, impostors // 10_000), (5, impostors // 100_000))}
    (folder / "fine_tar.json").write_text(json.dumps(tar) + "\n")


def merge(image, mirrored, flip):
    merged = {"none": image, "sum": image + mirrored,
              "concat": np.concatenate([image, mirrored], axis=1)}[flip].astype(np.float64)
    return merged / np.linalg.norm(merged, axis=1, keepdims=True)


def squared(unit, first, second):
    return np.sum(np.square(unit[first] - unit[second]), axis=1)


def write_embeddings(folder):
    """From embeddings to the result, with every flip test."""
    cases = []
    for seed, (persons, per_person, dim, pairs) in enumerate(
            [(12, 4, 2, 103), (20, 3, 8, 200), (8, 6, 5, 57)]):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(persons, dim))
        who = np.repeat(np.arange(persons), per_person)
        image = (centres[who] + 0.6 * rng.normal(size=(len(who), dim))).round(4)
        mirrored = (image + 0.3 * rng.normal(size=image.shape)).round(4)
        image[5] = image[4]
        image, mirrored = image.astype(np.float32), mirrored.astype(np.float32)
        first, second, same = [], [], []
        while len(first) < pairs:
            genuine = rng.random() < 0.5
            a, b = rng.integers(len(who), size=2)
            if a != b and (who[a] == who[b]) == genuine:
                first.append(int(a)), second.append(int(b)), same.append(bool(genuine))
        results = {}
        for flip in ("none", "sum", "concat"):
            distances = squared(merge(image, mirrored, flip), first, second)
            results[flip] = protocol(distances, same) | {"distances": distances[:3].tolist()}
        listed = lambda m: [float(str(v)) for v in m.ravel()]
        cases.append({"dim": dim, "image": listed(image), "mirrored": listed(mirrored),
                      "first": first, "second": second, "same": same, "results": results})
    (folder / "embeddings.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


def write_mobilefacenet(folder, data):
    """Distances of the published MobileFaceNet on 400 real LFW pairs, for the three flip tests."""
    import torch
    import torch.nn.functional as F
    from PIL import Image
    from safetensors.torch import load_file

    class Plain(pickle.Unpickler):
        def find_class(self, module, name):
            raise pickle.UnpicklingError(f"{module}.{name}")

    with open(data / "lfw/lfw_400pairs.bin", "rb") as file:
        encoded, same = Plain(file, encoding="bytes").load()
    w = load_file(data / "weights/mobilefacenet_xiaoccer_068.safetensors")

    def norm(x, p):
        return F.batch_norm(x, *(w[f"{p}.{k}"] for k in
                                 ("running_mean", "running_var", "weight", "bias")))

    def block(x, p, **conv):
        x = norm(F.conv2d(x, w[f"{p}.conv.weight"], **conv), f"{p}.bn")
        return F.prelu(x, w[f"{p}.prelu.weight"]) if f"{p}.prelu.weight" in w else x

    def network(x):
        x = block(x, "conv1", stride=2, padding=1)
        x = block(x, "dw_conv1", padding=1, groups=64)
        for i in range(15):
            p, stride = f"blocks.{i}.conv.", 2 if i in (0, 5, 12) else 1
            y = norm(F.conv2d(x, w[p + "0.weight"]), p + "1")
            y = F.prelu(y, w[p + "2.weight"])
            y = F.conv2d(y, w[p + "3.weight"], stride=stride, padding=1, groups=y.shape[1])
            y = F.prelu(norm(y, p + "4"), w[p + "5.weight"])
            y = norm(F.conv2d(y, w[p + "6.weight"]), p + "7")
            x = x + y if stride == 1 and x.shape == y.shape else y
        return block(block(block(x, "conv2"), "linear7", groups=512), "linear1").flatten(1)

    images = [np.asarray(Image.open(io.BytesIO(b)).convert("RGB"))[:, 8:104] for b in encoded]
    x = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - 127.5) / 128
    with torch.inference_mode():
        image = torch.cat([network(batch) for batch in x.split(100)]).numpy()
        mirrored = torch.cat([network(batch.flip(3)) for batch in x.split(100)]).numpy()
    first, second = np.arange(0, len(x), 2), np.arange(1, len(x), 2)
    fixture = {"same": "".join(str(int(s)) for s in same)}
    for flip in ("none", "sum", "concat"):
        distances = squared(merge(image, mirrored, flip), first, second)
        fixture[flip] = [round(d, 9) for d in distances.tolist()]
        print(flip, protocol(distances, same))
    path = folder / "mobilefacenet_lfw400.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--mobilefacenet", type=Path, metavar="DATA")
    arguments = arguments.parse_args()
    if arguments.mobilefacenet:
        write_mobilefacenet(arguments.folder, arguments.mobilefacenet)
    else:
        write_scores(arguments.folder)
        write_embeddings(arguments.folder)
        write_roc(arguments.folder)
        write_view1(arguments.folder)
        write_fine_tar(arguments.folder)
