"""Training steps on a GPU: arcrun beside eager PyTorch, back to back on the same device.

    python benches/gpu/bench.py target/release/run [--output table.md]

The Python that runs this needs torch 2.11 with CUDA and torchvision; arcrun, as it was built for the CPU
libtorch, is started with that torch's libraries and opens their CUDA part itself. By default resnet50 at
112 x 112, ArcFace over 1,000 classes, SGD with momentum (fused in both), channels-last, cuDNN's algorithms
chosen by trying, in float32, TF32, bfloat16 and float16 with batches of 128, 256 and 512: first on random images in the
device's memory, then from JPEG files, which `run data synth` draws. Every measurement is a process of its
own; the two programs take turns, and who begins alternates. Whole steps are timed: arcrun reads its loss and
its gradient norm after each one, PyTorch reads nothing.

Rounds are repeated until --budget seconds are over; the table has the medians. --device cpu with small
settings tries the script itself.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = ROOT / "tools" / "parity" / "bench_step.py"
# Name: train.amp and train.tf32.
PRECISIONS = {"fp32": ("off", False), "tf32": ("off", True), "bf16": ("bf16", False), "fp16": ("fp16", False)}
MODELS = ["resnet18", "resnet50", "mobilefacenet", "iresnet50", "efficient_fr"]


def arguments():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("run", help="the program `run`")
    args.add_argument("--device", default="cuda:0")
    args.add_argument("--model", choices=MODELS, default="resnet50")
    args.add_argument("--size", type=int, default=112)
    args.add_argument("--batch", type=int, nargs="+", default=[128, 256, 512])
    args.add_argument("--precision", choices=PRECISIONS, nargs="+", default=list(PRECISIONS))
    args.add_argument("--file-batch", type=int, default=256, help="batch of the runs from files")
    args.add_argument("--file-precision", choices=PRECISIONS, nargs="*", default=["tf32", "bf16"])
    args.add_argument("--images", type=int, default=10000, help="JPEG files")
    args.add_argument("--identities", type=int, default=200, help="whose images they are")
    args.add_argument("--steps", type=int, default=30)
    args.add_argument("--warm-up", type=int, default=10)
    args.add_argument("--workers", type=int, default=os.cpu_count(), help="threads or processes that load")
    args.add_argument("--rounds", type=int, default=5, help="at most")
    args.add_argument("--budget", type=float, default=540, help="seconds for everything")
    args.add_argument("--threads", type=int, default=0, help="CPU threads of an operation; 0: all")
    args.add_argument("--output", type=pathlib.Path, help="file for the table")
    return args.parse_args()


def ours(args, precision, batch, faces):
    """The command of arcrun; `faces` is a folder of images, or None for random ones."""
    amp, tf32 = PRECISIONS[precision]
    settings = {
        "backbone.kind": args.model, "backbone.pretrained": "none", "head.batch_norm": "false",
        "optimizer.lr": 0.01, "train.batch_size": batch, "train.device": args.device, "train.amp": amp,
        "train.tf32": str(tf32).lower(), "train.channels_last": "true", "train.deterministic": "false",
        "train.cudnn_benchmark": str(args.device != "cpu").lower(), "train.threads": args.threads,
        "train.drop_last": "true", "preprocess.height": args.size, "preprocess.width": args.size,
        "loader.workers": args.workers,
    }
    if args.model == "mobilefacenet":
        settings["backbone.kernel"] = [-(-args.size // 16)] * 2
    command = [args.run, "bench", "step", str(ROOT / "experiments" / "arcface.toml"), "--json"]
    if faces:
        # All of them: the experiment's own fractions leave some for a validation.
        settings |= {"data.root": str(faces), "data.fractions": "{train=1.0,validation=0.0,test=0.0}"}
        command.append("--files")
    else:
        command.append("--whole")
    command += ["--steps", str(args.steps), "--warm-up", str(args.warm_up)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    return command


def theirs(args, precision, batch, faces):
    amp, tf32 = PRECISIONS[precision]
    command = [sys.executable, str(PEER), "--whole", "--model", args.model, "--device", args.device,
               "--batch", str(batch), "--size", str(args.size), "--amp", amp, "--channels-last",
               "--optimizer", "fused", "--steps", str(args.steps), "--warm-up", str(args.warm_up),
               "--workers", str(args.workers)]
    if args.threads:
        command += ["--threads", str(args.threads)]
    if tf32:
        command.append("--tf32")
    if args.device != "cpu":
        command.append("--benchmark")
    if faces:
        # Ours has as many classes as the data.
        command += ["--files", str(faces), "--classes", str(args.identities)]
    return command


def measure(command, environment, limit):
    """What the command printed last, or why it printed nothing."""
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return "no time"
    if done.returncode == 0:
        return json.loads(done.stdout.strip().splitlines()[-1])
    said = done.stderr + done.stdout
    if "out of memory" in said.lower():
        return "out of memory"
    lines = [line.strip(" │×") for line in said.splitlines() if line.strip(" │×")]
    # What names a key says most, and no path.
    wrong = [line for line in lines if "`" in line] or [line for line in lines if "error" in line.lower()]
    return f"failed: {(wrong or lines or ['nothing was said'])[0][:120]}"


def environment_with(torch_folder):
    """libtorch's CUDA part lies beside its CPU part in the CUDA wheel."""
    environment = dict(os.environ)
    before = environment.get("LD_LIBRARY_PATH")
    libraries = str(torch_folder / "lib")
    environment["LD_LIBRARY_PATH"] = f"{libraries}:{before}" if before else libraries
    return environment


def median(results, key):
    values = [result[key] for result in results if isinstance(result, dict) and result.get(key) is not None]
    return statistics.median(values) if values else None


def cell(value, form):
    return "" if value is None else format(value, form)


def table(args, cases, results, device):
    lines = [
        f"{args.model} at {args.size} x {args.size}, channels-last, ArcFace over 1,000 classes, SGD with momentum; "
        f"{device}; {args.steps} steps a measurement, {args.workers} workers",
        "",
        "| images | format | batch | arcrun, images/s | PyTorch, images/s | ratio | arcrun, MB | PyTorch, MB "
        "| arcrun waits | PyTorch waits | rounds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        source, precision, batch = case
        pairs = results.get(case, [])
        mine, peers = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        both = [(a, b) for a, b in pairs if isinstance(a, dict) and isinstance(b, dict)]
        ratios = [a["images_per_second"] / b["images_per_second"] for a, b in both]

        def speed(list_of):
            said = [value for value in list_of if isinstance(value, str)]
            if not list_of:
                return "not run: the budget was spent"
            value = median(list_of, "images_per_second")
            return cell(value, ",.1f" if value and value < 1000 else ",.0f") if value else said[0]

        columns = [
            source, precision, str(batch), speed(mine), speed(peers),
            cell(statistics.median(ratios) if ratios else None, ".3f"),
            cell(median(mine, "peak_mb"), ",.0f"), cell(median(peers, "peak_mb"), ",.0f"),
            cell(median(mine, "wait_share"), ".1%"), cell(median(peers, "wait_share"), ".1%"), str(len(both)),
        ]
        lines.append("| " + " | ".join(columns) + " |")
    for precision in args.file_precision:
        fed = median([pair[0] for pair in results.get(("files", precision, args.file_batch), [])], "images_per_second")
        memory = median([pair[0] for pair in results.get(("device", precision, args.file_batch), [])],
                        "images_per_second")
        if fed and memory:
            lines += ["", f"arcrun from files over arcrun from the device's memory, {precision}: {fed / memory:.3f}"]
    return "\n".join(lines) + "\n"


def main():
    args = arguments()
    begun = time.monotonic()
    left = lambda: args.budget - (time.monotonic() - begun)
    args.run = str(pathlib.Path(args.run).resolve())
    import torch

    environment = environment_with(pathlib.Path(torch.__file__).parent)
    if args.device == "cpu":
        device = f"CPU, torch {torch.__version__}"
    else:
        index = int(args.device.partition(":")[2] or 0)
        device = f"{torch.cuda.get_device_name(index)}, torch {torch.__version__}"
    cases = [("device", precision, batch) for batch in args.batch for precision in args.precision]
    cases += [("files", precision, args.file_batch) for precision in args.file_precision]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        faces = pathlib.Path(folder) / "faces"
        if args.file_precision:
            each = max(2, args.images // args.identities)
            drawn = [args.run, "data", "synth", str(faces), "--size", str(args.size), "--images", str(each),
                     "--identities", str(args.identities), "--unseen", "0", "--pairs", "0"]
            subprocess.run(drawn, check=True, env=environment, capture_output=True)
            faces /= "train"
        for turn in range(args.rounds):
            for case in cases if turn % 2 == 0 else cases[::-1]:
                source, precision, batch = case
                if left() < 5 or any(isinstance(value, str) for pair in results.get(case, []) for value in pair):
                    continue
                commands = [make(args, precision, batch, faces if source == "files" else None)
                            for make in (ours, theirs)]
                order = (0, 1) if turn % 2 == 0 else (1, 0)
                pair = [None, None]
                for who in order:
                    pair[who] = measure(commands[who], environment, max(5, left()))
                if "no time" not in pair:
                    results.setdefault(case, []).append(tuple(pair))
                print(f"{time.monotonic() - begun:.0f} s, {source} {precision} {batch}: "
                      + " / ".join(f"{p['images_per_second']:.1f}" if isinstance(p, dict) else p for p in pair),
                      file=sys.stderr, flush=True)
    text = table(args, cases, results, device)
    print(text, end="")
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
