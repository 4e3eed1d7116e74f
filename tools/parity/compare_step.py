"""Times arcrun's training step, or forward pass, against eager PyTorch's, in interleaved pairs.

    python tools/parity/compare_step.py target/release/run --model resnet18 --pairs 9

Each pair runs `run bench step` and `bench_step.py` one after the other, each in a process of its
own, with the same network, batch, threads and memory format. Prints the ratio of the images per
second (arcrun / PyTorch) of each pair and the median.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from bench_step import MODELS, SMALL_CNN

HERE = pathlib.Path(__file__).resolve().parent


def last_json(command):
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("run", help="the program `run`")
    args.add_argument("--model", choices=MODELS, default="resnet18")
    args.add_argument("--batch", type=int, default=32)
    args.add_argument("--size", type=int, default=112)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--steps", type=int, default=8)
    args.add_argument("--pairs", type=int, default=9)
    args.add_argument("--channels-last", action="store_true")
    args.add_argument("--forward", action="store_true", help="images to embeddings only, without gradients")
    args = args.parse_args()

    settings = {
        "backbone.kind": args.model, "backbone.pretrained": "none", "head.batch_norm": "false", "head.embedding_dim": 512,
        "optimizer.lr": 0.01, "train.batch_size": args.batch, "train.threads": args.threads,
        "train.deterministic": "false", "train.device": "cpu",
        "train.channels_last": str(args.channels_last).lower(),
        "preprocess.height": args.size, "preprocess.width": args.size,
    }
    if args.model == "small_cnn":
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in SMALL_CNN.items()}
        settings |= {"backbone.kind": "efficient_fr", **{f"backbone.{key}": value for key, value in own.items()}}
    if args.model == "mobilefacenet":
        settings["backbone.kernel"] = [-(-args.size // 16)] * 2
    if args.model == "vit_b_32":
        settings["backbone.image_size"] = args.size
    ours = [args.run, "bench", "step", str(HERE / "../../experiments/arcface.toml"), "--json",
            "--steps", str(args.steps), "--warm-up", "3"]
    for key, value in settings.items():
        ours += ["--set", f"{key}={value}"]
    theirs = [sys.executable, str(HERE / "bench_step.py"), "--model", args.model, "--optimizer", "fused",
              "--batch", str(args.batch), "--size", str(args.size), "--threads", str(args.threads),
              "--steps", str(args.steps)] + (
        ["--channels-last"] if args.channels_last else [])
    if args.forward:
        ours.append("--forward")
        theirs.append("--forward")
    ratios = []
    for pair in range(args.pairs):
        order = [ours, theirs] if pair % 2 == 0 else [theirs, ours]
        speed = {id(command): last_json(command)["images_per_second"] for command in order}
        ratios.append(speed[id(ours)] / speed[id(theirs)])
        print(f"pair {pair + 1}: {speed[id(ours)]:.1f} / {speed[id(theirs)]:.1f} = {ratios[-1]:.3f}", flush=True)
    what = "forward pass" if args.forward else "training step"
    layout = "channels-last" if args.channels_last else "contiguous"
    print(f"{args.model}, {what}, {layout}: median ratio {statistics.median(ratios):.3f} over {len(ratios)} pairs")


if __name__ == "__main__":
    main()
