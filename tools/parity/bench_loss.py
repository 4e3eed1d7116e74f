"""Times eager PyTorch's margin softmax, forward and backward, to stand beside `run bench loss`.

    python tools/parity/bench_loss.py --classes 85742 --batch 128 --dim 512 --threads 2

ArcFace over normalised class weights by gather and scatter (`margin_softmax.py`). Prints one JSON line
with medians and the peak of the process's memory beside the weights.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

from margin_softmax import margin_logits


def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(key)) * 1024 / 1e6


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--classes", type=int, default=85742)
    args.add_argument("--batch", type=int, default=128)
    args.add_argument("--dim", type=int, default=512)
    args.add_argument("--threads", type=int, default=torch.get_num_threads())
    args.add_argument("--warm-up", type=int, default=3)
    args.add_argument("--steps", type=int, default=10)
    args.add_argument("--device", default="cpu")
    args = args.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(args.classes, args.dim, device=args.device) * 0.01)
    embedding = torch.randn(args.batch, args.dim, device=args.device, requires_grad=True)
    labels = (torch.arange(args.batch, device=args.device) // 2) % args.classes
    cuda = args.device != "cpu"
    before = torch.cuda.memory_allocated() / 1e6 if cuda else memory("VmRSS")

    def now():
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    times = []
    for _ in range(args.warm_up + args.steps):
        start = now()
        logits = margin_logits(embedding, weight, labels, "arcface", 64.0, 0.5, clamp=1.0 - 1e-7)
        loss = F.cross_entropy(logits, labels)
        forward = now()
        loss.backward()
        end = now()
        del logits, loss
        weight.grad = embedding.grad = None
        times.append((forward - start, end - forward, end - start))
    medians = [1e3 * statistics.median(column) for column in zip(*times[args.warm_up :])]
    peak = torch.cuda.max_memory_allocated() / 1e6 if cuda else memory("VmHWM")
    print(json.dumps({
        "loss": "arcface", "batch": args.batch, "dim": args.dim, "classes": args.classes,
        "device": args.device, "forward_ms": round(medians[0], 3), "backward_ms": round(medians[1], 3),
        "total_ms": round(medians[2], 3), "peak_mb": round(peak - before, 1),
    }))


if __name__ == "__main__":
    main()
