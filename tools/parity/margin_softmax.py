"""Margin losses by their formulas, for what no published package offers (boundaries, detached
gradients) and for training next to arcrun. `loss.py` holds this file against the reference values
of arcface and cosface."""

import math

import torch
import torch.nn.functional as F


def arcface_target(cosine, margin, boundary="line", easy_margin=False):
    """cos(theta + margin) for the target cosine, with the rule past theta + margin = pi."""
    shifted = torch.acos(cosine) + margin
    if easy_margin:
        return torch.where(cosine > 0, torch.cos(shifted), cosine)
    if boundary == "none":
        return torch.cos(shifted)
    if boundary == "clip":
        return torch.cos(shifted.clamp(max=math.pi))
    if boundary == "line":
        line = cosine - math.sin(math.pi - margin) * margin
        return torch.where(cosine > math.cos(math.pi - margin), torch.cos(shifted), line)
    raise ValueError(f"unknown boundary {boundary!r}")


def margin_logits(
    embedding, weight, labels, kind, scale, margin,
    boundary="line", easy_margin=False, gradient="exact", clamp=1.0,
):
    """Scaled logits [B, C] for embeddings [B, D] and class weights [C, D].

    `clamp` bounds the cosine: 1 for reference values, 1 - 1e-7 for float32 training, where the
    gradient of acos must stay finite."""
    cosine = F.linear(F.normalize(embedding), F.normalize(weight)).clamp(-clamp, clamp)
    target = cosine.gather(1, labels[:, None])
    if kind == "arcface":
        moved = arcface_target(target, margin, boundary, easy_margin)
    elif kind == "cosface":
        moved = target - margin
    else:
        raise ValueError(f"unknown margin loss {kind!r}")
    if gradient == "detached":
        moved = target + (moved - target).detach()
    return scale * cosine.scatter(1, labels[:, None], moved)
