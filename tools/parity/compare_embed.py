"""Embedding throughput of arcrun over that of a PyTorch loop with a DataLoader: the same images, the same
weights, the same threads, in turn.

    compare_embed.py RUN_PROGRAM RUN_DIR IMAGES_FOLDER [--pairs 7]

arcrun: the images/s that `run embed` prints (decoding, network, without opening the model). PyTorch: PIL
decoding in a DataLoader with its best number of workers (0, 1, 2), the network of `models.py` with the
weights that `run export` wrote, eager, under no_grad."""

import argparse
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

import numpy
import torch
from PIL import Image

from check_export import from_weights
from models import normalise


class Images(torch.utils.data.Dataset):
    def __init__(self, paths, size):
        self.paths, self.size = paths, size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = Image.open(self.paths[index]).convert("RGB")
        if image.size != self.size:
            image = image.resize(self.size, Image.BILINEAR)
        return torch.from_numpy(numpy.array(image)).permute(2, 0, 1)


def theirs(network, preprocess, paths, workers, batch):
    images = Images(paths, (preprocess["width"], preprocess["height"]))
    loader = torch.utils.data.DataLoader(images, batch_size=batch, num_workers=workers)
    begun = time.perf_counter()
    with torch.no_grad():
        for pixels in loader:
            network(normalise(pixels, preprocess["mean"], preprocess["std"]))
    return len(paths) / (time.perf_counter() - begun)


def ours(program, run, folder, output):
    command = [program, "embed", run, "--images", folder, "--output", output, "-q"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"([\d.]+) images/s", said)[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    paths = sorted(p for p in pathlib.Path(args.folder).rglob("*") if p.suffix in (".jpg", ".png"))
    with tempfile.TemporaryDirectory() as folder:
        weights = f"{folder}/model.safetensors"
        subprocess.run([args.program, "export", args.run, "--output", weights, "-q"], check=True)
        network, preprocess, _ = from_weights(weights)
        best = max((0, 1, 2), key=lambda workers: theirs(network, preprocess, paths, workers, args.batch))
        ratios = []
        for _ in range(args.pairs):
            a = ours(args.program, args.run, args.folder, f"{folder}/e.npy")
            b = theirs(network, preprocess, paths, best, args.batch)
            ratios.append(a / b)
            print(f"arcrun {a:.0f}, PyTorch {b:.0f} images/s ({best} workers): {a / b:.3f}")
    print(f"median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
