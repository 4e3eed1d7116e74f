"""Trains arcrun's network on arcrun's batches in PyTorch and compares the two loss curves.

    python tools/parity/train_curve.py DIR [--dtype float64] [--threads 2] [--tolerance 1e-4]

DIR holds (README.md has the details) initial.safetensors, batches.safetensors and config.json.
Prints one line per step, then a JSON line with the largest differences. Exit status 1 when the
largest relative difference is above --tolerance. A run with --dtype float64 shows how far
rounding alone carries a float32 curve.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from margin_softmax import margin_logits
from models import Network, normalise

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"lr", "momentum", "dampening", "weight_decay", "nesterov"}),
    "adam": (torch.optim.Adam, {"lr", "betas", "eps", "weight_decay", "amsgrad"}),
    "adamw": (torch.optim.AdamW, {"lr", "betas", "eps", "weight_decay", "amsgrad"}),
}
MARGIN_KEYS = {"scale", "margin", "boundary", "easy_margin", "gradient"}
CONFIG_KEYS = {"backbone", "head", "loss", "optimizer", "mean", "std", "steps", "arcrun_losses", "lrs",
               "no_decay", "channels_last"}


def fail(message):
    sys.exit(f"error: {message}")


def known(table, allowed, what):
    """A key that this script would ignore makes the comparison meaningless: refuse it."""
    unknown = set(table) - set(allowed)
    if unknown:
        fail(f"{what} has keys that this script does not know: {sorted(unknown)}")
    return table


class LossHead(torch.nn.Module):
    """The loss with its class weights, named `loss.*` in the files."""

    def __init__(self, config, tensors):
        super().__init__()
        self.config = dict(config)
        self.kind = self.config.pop("kind")
        for name in ("weight", "bias"):
            value = tensors.get(f"loss.{name}")
            self.register_parameter(name, None if value is None else torch.nn.Parameter(value.clone()))
        known(self.config, {"label_smoothing"} if self.kind == "cross_entropy" else MARGIN_KEYS, "loss")

    def forward(self, embedding, labels):
        if self.kind == "cross_entropy":
            logits = F.linear(embedding, self.weight, self.bias)
            return F.cross_entropy(logits, labels, **self.config)
        clamp = 1.0 - 1e-7  # at 1 the gradient of acos is infinite
        logits = margin_logits(embedding, self.weight, labels, self.kind, clamp=clamp, **self.config)
        return F.cross_entropy(logits, labels)


def load_network(config, tensors):
    backbone, head = dict(config["backbone"]), dict(config["head"])
    if backbone.pop("pretrained", None) or backbone.pop("frozen", None):
        fail("pretrained and frozen backbones are not compared here")
    head.pop("kind", None)
    if head.get("dropout"):
        fail("head.dropout must be 0: the two programs draw different masks")
    network = Network(backbone.pop("kind"), backbone, head)
    given = {k: v for k, v in tensors.items() if not k.startswith("loss.")}
    missing, unexpected = network.load_state_dict(given, strict=False)
    parameters = {name for name, _ in network.named_parameters()}
    if unexpected or parameters & set(missing):
        fail(f"initial.safetensors: missing {sorted(parameters & set(missing))}, unexpected {unexpected}")
    return network


def build_optimizer(config, network, loss):
    keys = dict(config["optimizer"])
    cls, allowed = OPTIMIZERS[keys.pop("kind")]
    known(keys, allowed, "optimizer")
    if "betas" in keys:
        keys["betas"] = tuple(keys["betas"])
    named = dict(network.named_parameters()) | {f"loss.{k}": v for k, v in loss.named_parameters()}
    spared = set(config.get("no_decay", []))
    if spared - set(named):
        fail(f"no_decay names no parameter: {sorted(spared - set(named))}")
    groups = [{"params": [p for name, p in named.items() if name not in spared]}]
    if spared:
        groups.append({"params": [named[name] for name in sorted(spared)], "weight_decay": 0.0})
    return cls(groups, **keys)


def train(config, tensors, batches, dtype):
    network = load_network(config, tensors).to(dtype).train()
    loss_fn = LossHead(config["loss"], tensors).to(dtype)
    layout = torch.channels_last if config.get("channels_last") else torch.contiguous_format
    network = network.to(memory_format=layout)
    optimizer = build_optimizer(config, network, loss_fn)
    losses = []
    for step in range(config["steps"]):
        if "lrs" in config:
            for group in optimizer.param_groups:
                group["lr"] = config["lrs"][step]
        images = normalise(batches[f"images_{step:04}"], config["mean"], config["std"])
        labels = batches[f"labels_{step:04}"].long()
        optimizer.zero_grad()
        loss = loss_fn(network(images.to(dtype).contiguous(memory_format=layout)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("directory", type=Path)
    args.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    args.add_argument("--threads", type=int)
    args.add_argument("--tolerance", type=float, help="largest relative difference that passes")
    args = args.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    config = known(json.loads((args.directory / "config.json").read_text()), CONFIG_KEYS, "config.json")
    tensors = load_file(args.directory / "initial.safetensors")
    batches = load_file(args.directory / "batches.safetensors")
    ours = config["arcrun_losses"]
    if len(ours) != config["steps"]:
        fail(f"arcrun_losses has {len(ours)} entries for {config['steps']} steps")

    theirs = train(config, tensors, batches, getattr(torch, args.dtype))
    print(f"{'step':>5} {'arcrun':>14} {'pytorch':>14} {'difference':>11}")
    for step, (a, b) in enumerate(zip(ours, theirs), 1):
        print(f"{step:5} {a:14.8f} {b:14.8f} {a - b:11.2e}")
    absolute = max(map(lambda a, b: abs(a - b), ours, theirs))
    relative = max(map(lambda a, b: abs(a - b) / max(abs(b), 1e-12), ours, theirs))
    finite = all(map(math.isfinite, ours + theirs))
    print(json.dumps({"steps": len(ours), "dtype": args.dtype, "threads": torch.get_num_threads(),
                      "first_absolute": abs(ours[0] - theirs[0]), "largest_absolute": absolute,
                      "largest_relative": relative, "finite": finite}))
    if not finite or (args.tolerance is not None and not relative <= args.tolerance):
        sys.exit(1)


if __name__ == "__main__":
    main()
