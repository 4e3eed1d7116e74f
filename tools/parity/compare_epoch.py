"""Whole epochs from image files to updated weights: arcrun beside eager PyTorch with torchvision's ImageFolder
and DataLoader, in turn, with the same network, images, augmentation, batches, optimizer, threads and memory format.

    compare_epoch.py RUN_PROGRAM FOLDER [--pairs 5] [--epochs 3] [--size 112] [--contiguous]

FOLDER is FOLDER/<identity>/<image>. The network is the quickstart's (efficient_fr, a small CNN), the loss ArcFace
over the identities, SGD with momentum (fused in PyTorch). PyTorch has its best number of workers, kept alive
between epochs. Seconds are those of the epochs after the first; memory is the largest sum over the processes of
what each has of its own (proportional set size).
"""

import argparse
import csv
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

NETWORK = {"channels": (16, 32, 64, 128, 256), "depths": (1, 1, 2, 2, 1), "pool": 2}
EMBEDDING = 256


def peer(args):
    """The PyTorch side, in a process of its own: prints the seconds of each epoch."""
    import torch
    import torch.nn.functional as F
    from torchvision import datasets, transforms

    from margin_softmax import margin_logits
    from models import Network

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rotation = transforms.RandomRotation(10, transforms.InterpolationMode.BILINEAR)
    resize = [] if args.size == 112 else [transforms.Resize((args.size, args.size))]
    steps = [*resize, transforms.RandomHorizontalFlip(), transforms.RandomApply([rotation], 0.75),
             transforms.PILToTensor()]
    images = datasets.ImageFolder(args.folder, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(images, args.batch, shuffle=True, num_workers=args.peer_workers,
                                         persistent_workers=args.peer_workers > 0)
    layout = torch.contiguous_format if args.contiguous else torch.channels_last
    network = Network("efficient_fr", NETWORK, {"embedding_dim": EMBEDDING, "batch_norm": True})
    network = network.train().to(memory_format=layout)
    weight = torch.nn.Parameter(torch.randn(len(images.classes), EMBEDDING) * 0.01)
    optimizer = torch.optim.SGD([*network.parameters(), weight], lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    for _ in range(args.epochs):
        begun = time.perf_counter()
        for pixels, labels in loader:
            batch = pixels.float().div_(255.0).sub_(0.5).div_(0.5).contiguous(memory_format=layout)
            logits = margin_logits(network(batch), weight, labels, "arcface", 64.0, 0.5, clamp=1.0 - 1e-7)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss.item()
        print(time.perf_counter() - begun, flush=True)


EXPERIMENT = """
[data]
kind = "image_folder"
split = "image"
fractions = {{ train = 1.0, validation = 0.0, test = 0.0 }}
root = {root!r}
[preprocess]
height = {size}
width = {size}
[augmentation]
rotation_share = 0.75
[backbone]
kind = "efficient_fr"
channels = {channels}
depths = {depths}
pool = 2
[head]
embedding_dim = {embedding}
batch_norm = true
[loss]
kind = "arcface"
[optimizer]
kind = "sgd"
lr = 0.01
momentum = 0.9
weight_decay = 5e-4
[scheduler]
kind = "constant"
[train]
epochs = {epochs}
batch_size = {batch}
device = "cpu"
threads = {threads}
deterministic = false
channels_last = {channels_last}
[evaluate]
every_epochs = 0
[record]
plots = false
wandb.mode = "disabled"
"""


def own_memory(pid):
    """Bytes of the process and its children, shared pages in proportion."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            parent = int(stat.rsplit(")", 1)[1].split()[1])
            if int(entry) == pid or parent == pid:
                text = pathlib.Path(f"/proc/{entry}/smaps_rollup").read_text()
                line = next(line for line in text.splitlines() if line.startswith("Pss:"))
                total += int(line.split()[1]) * 1024
        except (OSError, StopIteration, ValueError):
            continue
    return total


def watched(command):
    """Output and peak memory of a command."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = [0]

    def watch():
        while process.poll() is None:
            peak[0] = max(peak[0], own_memory(process.pid))
            time.sleep(0.5)

    thread = threading.Thread(target=watch)
    thread.start()
    output = process.communicate()[0]
    thread.join()
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} failed with {process.returncode}")
    return output, peak[0]


def ours(args, folder):
    run = pathlib.Path(folder) / "run"
    subprocess.run(["rm", "-rf", str(run)], check=True)
    experiment = pathlib.Path(folder) / "epoch.toml"
    experiment.write_text(EXPERIMENT.format(
        root=os.path.abspath(args.folder), size=args.size, channels=list(NETWORK["channels"]),
        depths=list(NETWORK["depths"]), embedding=EMBEDDING, epochs=args.epochs, batch=args.batch,
        threads=args.threads, channels_last=str(not args.contiguous).lower()))
    _, peak = watched([args.run, str(experiment), "-q", "--run-dir", str(run)])
    rows = list(csv.DictReader((run / "epochs.csv").open()))
    return statistics.median(float(row["seconds"]) for row in rows[1:]), peak


def theirs(args, workers, epochs=None):
    command = [sys.executable, __file__, args.run, args.folder, "--peer-workers", str(workers), "--batch", str(args.batch),
               "--epochs", str(epochs or args.epochs), "--size", str(args.size), "--threads", str(args.threads)]
    output, peak = watched(command + (["--contiguous"] if args.contiguous else []))
    return statistics.median(float(line) for line in output.split()[1:]), peak


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("run", help="the program `run`")
    args.add_argument("folder", help="images by identity")
    args.add_argument("--pairs", type=int, default=5)
    args.add_argument("--epochs", type=int, default=3)
    args.add_argument("--batch", type=int, default=64)
    args.add_argument("--size", type=int, default=112)
    args.add_argument("--threads", type=int, default=os.cpu_count())
    args.add_argument("--contiguous", action="store_true", help="N, C, H, W in memory on both sides")
    args.add_argument("--peer-workers", type=int, help=argparse.SUPPRESS)
    args = args.parse_args()
    if args.peer_workers is not None:
        return peer(args)

    of_workers = {workers: theirs(args, workers, 2)[0] for workers in range(os.cpu_count() + 1)}
    best = min(of_workers, key=of_workers.get)
    shown = ", ".join(f"{workers}: {seconds:.2f}" for workers, seconds in of_workers.items())
    print(f"DataLoader, seconds of an epoch by workers: {shown}; {best} from here on", flush=True)
    ratios, memories = [], []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(args.pairs):
            sides = {"ours": lambda: ours(args, folder), "theirs": lambda: theirs(args, best)}
            order = ["ours", "theirs"] if pair % 2 == 0 else ["theirs", "ours"]
            seen = {who: sides[who]() for who in order}
            ratios.append(seen["theirs"][0] / seen["ours"][0])
            memories.append(seen["ours"][1] / seen["theirs"][1])
            print(f"pair {pair + 1}: PyTorch {seen['theirs'][0]:.2f} s, arcrun {seen['ours'][0]:.2f} s, ratio "
                  f"{ratios[-1]:.3f}; peak memory {seen['ours'][1] / 1e6:.0f} of {seen['theirs'][1] / 1e6:.0f} MB", flush=True)
    layout = "contiguous" if args.contiguous else "channels-last"
    print(f"whole epoch, {args.size} px, {layout}: median ratio {statistics.median(ratios):.3f}, peak memory "
          f"{statistics.median(memories):.2f} of PyTorch's, over {len(ratios)} pairs")


if __name__ == "__main__":
    main()
