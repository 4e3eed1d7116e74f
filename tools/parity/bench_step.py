"""Times eager PyTorch's training step, to stand beside `run bench step`.

    python tools/parity/bench_step.py --model resnet18 --batch 32 --size 112 --threads 2

ArcFace over 1,000 classes on 512-d embeddings, SGD with momentum. Prints one JSON line; the times
are medians over the timed steps, `forward` ends with the loss, `optimizer` includes zero_grad.
--whole times all steps together, without waiting for the device in between; --files FOLDER does so on
the images of a folder per class, through torchvision's ImageFolder and a DataLoader.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

from margin_softmax import margin_logits
from models import Network


MODELS = ["resnet18", "resnet50", "efficient_fr", "small_cnn", "mobilefacenet", "mbf", "iresnet50", "vit_b_32"]
# The quickstart's network.
SMALL_CNN = {"channels": (16, 32, 64, 128, 256), "depths": (1, 1, 2, 2, 1), "pool": 2}


def build(kind, embedding_dim, size):
    """images to embeddings: torchvision's network (or the twin of ours, where it has none) or open_clip's
    tower, and a linear layer."""
    if kind == "small_cnn":
        return Network("efficient_fr", SMALL_CNN, {"embedding_dim": embedding_dim})
    if kind != "vit_b_32":
        keys = {"kernel": (-(-size // 16),) * 2} if kind in ("mobilefacenet", "mbf") else {}
        return Network(kind, keys, {"embedding_dim": embedding_dim})
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    tower = _build_vision_tower(512, CLIPVisionCfg(layers=12, width=768, patch_size=32, image_size=size),
                                quick_gelu=True)
    return torch.nn.Sequential(tower, torch.nn.Linear(512, embedding_dim))


def loader(args):
    """Batches for ever, normalised on the device: uint8 crosses the bus, as arcrun's do."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.PILToTensor(), v2.RandomHorizontalFlip()]
    images = ImageFolder(args.files, v2.Compose(steps))
    workers = {"num_workers": args.workers, "persistent_workers": True} if args.workers else {}
    batches = torch.utils.data.DataLoader(images, args.batch, shuffle=True, drop_last=True,
                                          pin_memory=args.device != "cpu", **workers)
    while True:
        yield from batches


def whole(args, network, weight, optimizer, layout):
    """All steps together, as a training does them: gradients dropped, no wait for the device in between."""
    device = torch.device(args.device)
    kind = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[args.amp]
    scaler = torch.amp.GradScaler(device.type, enabled=kind == torch.float16)
    batches = loader(args) if args.files else None
    pixels = torch.randint(256, (args.batch, 3, args.size, args.size), dtype=torch.uint8, device=device)
    labels = torch.randint(args.classes, (args.batch,), device=device)
    waited, begun = 0.0, time.perf_counter()
    for step in range(args.warm_up + args.steps):
        if step == args.warm_up:
            if args.device != "cpu":
                torch.cuda.synchronize()
            waited, begun = 0.0, time.perf_counter()
        if batches:
            start = time.perf_counter()
            pixels, labels = next(batches)
            waited += time.perf_counter() - start
            pixels, labels = pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        images = ((pixels.float() / 255.0 - 0.5) / 0.5).contiguous(memory_format=layout)
        with torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=kind is not None):
            embedding = network(images)
        logits = margin_logits(embedding.float(), weight, labels, "arcface", 64.0, 0.5, clamp=1.0 - 1e-7)
        loss = F.cross_entropy(logits, labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    if args.device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begun
    result = {"model": args.model, "images_per_second": args.steps * args.batch / seconds,
              "total_ms": 1e3 * seconds / args.steps, "peak_mb": None}
    if args.device != "cpu":
        result["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    if args.files:
        result["wait_share"] = waited / seconds
    print(json.dumps(result))


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--model", choices=MODELS, default="resnet18")
    args.add_argument("--batch", type=int, default=32)
    args.add_argument("--size", type=int, default=112)
    args.add_argument("--threads", type=int, default=torch.get_num_threads())
    args.add_argument("--channels-last", action="store_true")
    args.add_argument("--optimizer", choices=["default", "foreach", "fused"], default="default")
    args.add_argument("--classes", type=int, default=1000)
    args.add_argument("--embedding-dim", type=int, default=512)
    args.add_argument("--warm-up", type=int, default=3)
    args.add_argument("--steps", type=int, default=10)
    args.add_argument("--forward", action="store_true", help="images to embeddings only, without gradients")
    args.add_argument("--device", default="cpu")
    args.add_argument("--amp", choices=["off", "bf16", "fp16"], default="off")
    args.add_argument("--tf32", action="store_true")
    args.add_argument("--benchmark", action="store_true", help="let cuDNN choose by trying")
    args.add_argument("--whole", action="store_true", help="time all steps together")
    args.add_argument("--files", metavar="FOLDER", help="train on these images; implies --whole")
    args.add_argument("--workers", type=int, default=0, help="processes of the DataLoader")
    args = args.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    torch.backends.cudnn.benchmark = args.benchmark
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    network = build(args.model, args.embedding_dim, args.size).train(not args.forward)
    network = network.to(args.device, memory_format=layout)
    weight = torch.nn.Parameter(torch.randn(args.classes, args.embedding_dim, device=args.device) * 0.01)
    implementation = {} if args.optimizer == "default" else {args.optimizer: True}
    optimizer = torch.optim.SGD([*network.parameters(), weight], lr=0.01, momentum=0.9, weight_decay=5e-4,
                                **implementation)
    if args.whole or args.files:
        whole(args, network, weight, optimizer, layout)
        return
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
    images = images.contiguous(memory_format=layout)
    labels = torch.randint(args.classes, (args.batch,), device=args.device)

    def now():
        if args.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter()

    times = []
    for _ in range(args.warm_up + args.steps):
        start = now()
        if args.forward:
            with torch.inference_mode():
                network(images)
            end = now()
            times.append((end - start, 0.0, 0.0, end - start))
            continue
        logits = margin_logits(network(images), weight, labels, "arcface", 64.0, 0.5, clamp=1.0 - 1e-7)
        loss = F.cross_entropy(logits, labels)
        forward = now()
        loss.backward()
        backward = now()
        optimizer.step()
        optimizer.zero_grad()
        end = now()
        times.append((forward - start, backward - forward, end - backward, end - start))
    medians = [1e3 * statistics.median(column) for column in zip(*times[args.warm_up :])]
    print(json.dumps({
        "model": args.model, "batch": args.batch, "size": args.size, "threads": args.threads,
        "channels_last": args.channels_last, "optimizer": args.optimizer, "device": args.device,
        "steps": args.steps, "images_per_second": round(1e3 * args.batch / medians[3], 3),
        "forward_ms": round(medians[0], 3), "backward_ms": round(medians[1], 3),
        "optimizer_ms": round(medians[2], 3), "total_ms": round(medians[3], 3), "loss": None if args.forward else loss.item(),
    }))


if __name__ == "__main__":
    main()
