"""Trains every loss for labelled faces from the same start and prints docs/learning.md's table.

    ARCRUN_FACES=FOLDER python tools/learning/table.py target/release/run RESULTS_FOLDER --seeds 0 1 2

Needs nothing but Python's own library. A run that has finished is not repeated.
"""

import argparse
import csv
import pathlib
import statistics
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
SMALL = ["loss.scale=16"]  # 64 suits 85,000 classes, not 95
LOSSES = {
    "cross_entropy": [],
    "norm_softmax": ["loss.scale=16"],
    "sphereface": ["loss.lambda_base=100"],
    "sphereface_r": SMALL,
    "multiplicative": SMALL,
    "cosface": [*SMALL, "loss.margin=0.2"],
    "arcface": [*SMALL, "loss.margin=0.3"],
    "combined": [*SMALL, "loss.m2=0.2", "loss.m3=0.1"],
    "curricularface": [*SMALL, "loss.margin=0.3"],
    "adaface": [*SMALL, "loss.margin=0.3"],
    "subcenter_arcface": [*SMALL, "loss.margin=0.3"],
    "triplet, semi_hard_random": [],
    "triplet, semi_hard_hardest": ["loss.selection=semi_hard_hardest"],
    "triplet, hard": ["loss.selection=hard"],
    "triplet, all": ["loss.selection=all", "loss.mean=nonzero"],
    "triplet, vgg": ["loss.selection=vgg"],
    "supcon": [],
    "sum": ["loss.parts.margin.loss.kind=arcface", "loss.parts.margin.loss.scale=16",
            "loss.parts.margin.loss.margin=0.3", "loss.parts.pairs.loss.kind=triplet"],
}


def settings(name, seed):
    values = [f"loss.kind={name.split(',')[0]}", *LOSSES[name], f"seed={seed}"]
    return [word for value in values for word in ("--set", value)]


def train(program, results, name, seed):
    folder = results / f"{name.replace(', ', '-')}-{seed}"
    scores = folder / "eval.csv"
    if not scores.exists() or "latest" not in scores.read_text():
        command = [program, str(HERE / "faces.toml"), "-q", "--run-dir", str(folder), *settings(name, seed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with scores.open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    score = {row["checkpoint"]: 100 * float(row["value"]) for row in rows}
    return score["untrained"], score["latest"]


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("run", help="the program `run`")
    args.add_argument("results", type=pathlib.Path)
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = args.parse_args()
    print("| loss | settings | untrained | trained | gain / spread |\n|---|---|---|---|---|")
    for name in LOSSES:
        before, after = zip(*(train(args.run, args.results, name, seed) for seed in args.seeds))
        mean, spread = statistics.mean(after), statistics.stdev(after)
        base, noise = statistics.mean(before), statistics.stdev(before)
        ratio = (mean - base) / max(spread, noise)
        stated = " ".join(f"`{value.removeprefix('loss.')}`" for value in LOSSES[name])
        print(f"| {name} | {stated} | {base:.1f} ± {noise:.1f} | {mean:.1f} ± {spread:.1f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
