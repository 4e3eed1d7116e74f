"""The losses between embeddings from packages: pytorch-metric-learning and open_clip."""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances, losses, miners, reducers


def open_clip_losses():
    """open_clip's module of losses alone: the package around it needs timm and more."""
    package = importlib.util.find_spec("open_clip")
    path = Path(package.submodule_search_locations[0]) / "loss.py"
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OPEN_CLIP = open_clip_losses()


def two_towers(x, kind):
    image, text = F.normalize(x["image"]), F.normalize(x["text"])
    scale = x["logit_scale"].exp()
    if kind == "clip":
        return OPEN_CLIP.ClipLoss()(image, text, scale)
    return OPEN_CLIP.SigLipLoss()(image, text, scale, x["logit_bias"])


def semi_hard_hardest(x, config):
    """The rule of TensorFlow Addons' triplet_semihard_loss over whole matrices: entry [a, p, n]."""
    unit, labels = F.normalize(x["embedding"]), x["labels"]
    difference = unit[:, None] - unit[None]
    d = (difference * difference).sum(2)
    if config["distance"] == "euclidean":
        d = torch.where(d > 0, d, 1.0).sqrt() * (d > 0)
    same = labels[:, None] == labels[None]
    negative = ~same[:, None, :]
    beyond = negative & (d[:, None, :] > d[:, :, None])
    nearest = d[:, None, :].masked_fill(~beyond, torch.inf).amin(2)
    farthest = d.masked_fill(same, -torch.inf).amax(1, keepdim=True)
    of_pair = torch.where(beyond.any(2), nearest, farthest)
    pairs = same & ~torch.eye(len(labels), dtype=torch.bool)
    return torch.relu(d - of_pair + config["margin"])[pairs].sum() / pairs.sum()


def triplet(x, config):
    """(name of the reference, loss), or None."""
    selection, mean = config["selection"], config["mean"]
    if selection == "semi_hard_hardest":
        # With a negative for every pair, all pairs are selected.
        return None if mean == "nonzero" else ("formula", semi_hard_hardest(x, config))
    if mean == "positive_pairs":
        return None
    distance = distances.LpDistance(power=2 if config["distance"] == "squared" else 1)
    miner = {
        "all": lambda: None,
        "vgg": lambda: miners.TripletMarginMiner(config["margin"], "all", distance=distance),
        "hard": lambda: miners.BatchHardMiner(distance=distance),
        "semi_hard_random": lambda: miners.TripletMarginMiner(
            config["margin"], "semihard", distance=distance),
    }[selection]()
    reducer = {"nonzero": reducers.AvgNonZeroReducer, "selected": reducers.MeanReducer}[mean]()
    loss_fn = losses.TripletMarginLoss(config["margin"], distance=distance, reducer=reducer)
    chosen = miner(x["embedding"], x["labels"]) if miner else None
    return "pytorch-metric-learning", loss_fn(x["embedding"], x["labels"], chosen)


def library(x, kind, config):
    """(name of the reference, loss with a graph to the leaves `x`), or None where none has it."""
    if kind == "triplet":
        return triplet(x, config)
    if kind == "supcon":
        if len(x["labels"].unique()) == 1:
            return None  # without negatives the package gives 0, the definition does not
        loss = losses.SupConLoss(temperature=config["temperature"])
        return "pytorch-metric-learning", loss(x["embedding"], x["labels"])
    return "open_clip", two_towers(x, kind)
