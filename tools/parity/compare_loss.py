"""Times arcrun's margin softmax against eager PyTorch's, in interleaved pairs.

    python tools/parity/compare_loss.py target/release/run --pairs 9

Each pair runs `run bench loss` and `bench_loss.py` one after the other, each in a process of its own.
Prints the ratio of the times (PyTorch / arcrun: above 1, arcrun is faster) and of the memory.
"""

import argparse
import pathlib
import statistics
import sys

from compare_step import last_json

HERE = pathlib.Path(__file__).resolve().parent


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("run", help="the program `run`")
    args.add_argument("--classes", type=int, default=85742)
    args.add_argument("--batch", type=int, default=128)
    args.add_argument("--dim", type=int, default=512)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--steps", type=int, default=8)
    args.add_argument("--pairs", type=int, default=9)
    args.add_argument("--device", default="cpu")
    args = args.parse_args()

    settings = {
        "train.batch_size": args.batch, "train.threads": args.threads, "train.deterministic": "false",
        "train.device": "cuda:0" if args.device == "cuda" else args.device,
        "head.embedding_dim": args.dim,
    }
    ours = [args.run, "bench", "loss", str(HERE / "../../experiments/arcface.toml"), "--json",
            "--steps", str(args.steps), "--classes", str(args.classes)]
    for key, value in settings.items():
        ours += ["--set", f"{key}={value}"]
    theirs = [sys.executable, str(HERE / "bench_loss.py"), "--classes", str(args.classes), "--batch",
              str(args.batch), "--dim", str(args.dim), "--threads", str(args.threads), "--steps",
              str(args.steps), "--device", args.device]
    ratios, memory = [], []
    for pair in range(args.pairs):
        order = [ours, theirs] if pair % 2 == 0 else [theirs, ours]
        results = {id(command): last_json(command) for command in order}
        mine, other = results[id(ours)], results[id(theirs)]
        ratios.append(other["total_ms"] / mine["total_ms"])
        line = f"pair {pair + 1}: {mine['total_ms']:.1f} / {other['total_ms']:.1f} ms = {ratios[-1]:.3f}"
        if mine["peak_mb"] and other["peak_mb"]:
            memory.append(other["peak_mb"] / mine["peak_mb"])
            line += f", {mine['peak_mb']:.0f} / {other['peak_mb']:.0f} MB"
        print(line, flush=True)
    print(f"median speed ratio {statistics.median(ratios):.3f} over {len(ratios)} pairs")
    if memory:
        print(f"median memory ratio {statistics.median(memory):.3f}")


if __name__ == "__main__":
    main()
