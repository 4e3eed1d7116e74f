"""Loading throughput of arcrun over that of torchvision's ImageFolder and DataLoader: the same files, size,
flip and rotation, uint8 batches, in turn.

    compare_loader.py RUN_PROGRAM FOLDER [--pairs 7] [--data folder|pack|decoded] [--dct-scaling]

FOLDER is FOLDER/<identity>/<image>. Theirs: PIL, RandomHorizontalFlip, RandomApply(RandomRotation(10,
bilinear), 0.75), PILToTensor, in a DataLoader with its best number of workers (0 to the number of cores,
kept alive between epochs); the epoch that starts the workers is not counted. Ours: `run bench loader`, as many
threads as there are cores, from the folder, from a pack of its files, or from a pack of pixels at the input size.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import torch
from torchvision import datasets, transforms


def theirs(folder, size, batch, workers, epochs):
    steps = [] if size is None else [transforms.Resize((size, size))]
    rotation = transforms.RandomRotation(10, transforms.InterpolationMode.BILINEAR)
    steps += [transforms.RandomHorizontalFlip(), transforms.RandomApply([rotation], 0.75), transforms.PILToTensor()]
    images = datasets.ImageFolder(folder, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(images, batch, shuffle=True, num_workers=workers,
                                         persistent_workers=workers > 0)
    speeds = []
    for epoch in range(epochs + 1):
        begun = time.perf_counter()
        count = sum(len(labels) for _, labels in loader)
        speeds.append(count / (time.perf_counter() - begun))
    return statistics.median(speeds[1:])


def ours(args, source, kind):
    cores = os.cpu_count()
    settings = {
        "data.root" if kind == "image_folder" else "data.file": source, "data.kind": kind,
        "preprocess.height": args.size, "preprocess.width": args.size, "train.batch_size": args.batch,
        "augmentation.rotation_share": 0.75, "loader.workers": cores,
        "preprocess.dct_scaling": str(args.dct_scaling).lower(),
    }
    if kind == "image_folder":
        settings |= {"data.fractions": "{train=1.0,validation=0.0,test=0.0}", "data.split": "image"}
    command = [args.run, "bench", "loader", str(args.experiment), "--json", "--epochs", str(args.epochs)]
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])["images_per_second"]


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("run", help="the program `run`")
    args.add_argument("folder", help="images by identity")
    args.add_argument("--pairs", type=int, default=7)
    args.add_argument("--epochs", type=int, default=2)
    args.add_argument("--batch", type=int, default=128)
    args.add_argument("--size", type=int, default=112)
    args.add_argument("--data", choices=["folder", "pack", "decoded"], default="folder")
    args.add_argument("--dct-scaling", action="store_true")
    args = args.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        # A plain experiment: no pretrained weights, no evaluation.
        args.experiment = pathlib.Path(folder) / "loader.toml"
        args.experiment.write_text('[data]\nkind = "image_folder"\nroot = "."\n')
        source, kind = os.path.abspath(args.folder), "image_folder"
        if args.data != "folder":
            pack = os.path.join(folder, "images.pack")
            command = [args.run, "data", "pack", str(args.experiment), "--output", pack, "--set", f"data.root={source}",
                       "--set", "data.fractions={train=1.0,validation=0.0,test=0.0}", "--set", "data.split=image",
                       "--set", f"preprocess.height={args.size}", "--set", f"preprocess.width={args.size}"]
            subprocess.run(command + (["--decoded"] if args.data == "decoded" else []), check=True)
            source, kind = pack, "pack"
        of_workers = {w: theirs(args.folder, args.size, args.batch, w, 1) for w in range(os.cpu_count() + 1)}
        best = max(of_workers, key=of_workers.get)
        shown = ", ".join(f"{workers}: {speed:.0f}" for workers, speed in of_workers.items())
        print(f"DataLoader, images/s by workers: {shown}; {best} from here on", flush=True)
        ratios = []
        for pair in range(args.pairs):
            runs = {"ours": lambda: ours(args, source, kind),
                    "theirs": lambda: theirs(args.folder, args.size, args.batch, best, args.epochs)}
            order = ["ours", "theirs"] if pair % 2 == 0 else ["theirs", "ours"]
            speed = {who: runs[who]() for who in order}
            ratios.append(speed["ours"] / speed["theirs"])
            print(f"pair {pair + 1}: {speed['ours']:.0f} / {speed['theirs']:.0f} = {ratios[-1]:.2f}", flush=True)
        scaled = ", dct_scaling" if args.dct_scaling else ""
        print(f"{args.data}{scaled}: median ratio {statistics.median(ratios):.2f} over {len(ratios)} pairs")


if __name__ == "__main__":
    main()
