"""What the losses are fed. Every value is a formula of its name (`fill.py`)."""

import math

import torch
import torch.nn.functional as F

import fill


def tensor(name, shape):
    return torch.from_numpy(fill.symmetric(f"loss.{name}", shape))


def with_norms(rows, norms):
    return F.normalize(rows) * torch.as_tensor(norms)[:, None]


def random_input():
    """Embeddings mixed from their class weight (by -1.5 to 1.5) and noise, of any norm."""
    batch, classes, dim = 16, 7, 12
    weight = tensor("random.weight", (classes, dim))
    labels = torch.arange(batch) * 5 % (classes - 1)  # the last class has no sample
    mix = torch.linspace(-1.5, 1.5, batch)[:, None]
    embedding = mix * weight[labels] + 0.6 * tensor("random.noise", (batch, dim))
    embedding *= torch.linspace(0.2, 9.0, batch)[:, None]
    return {"embedding": embedding, "weight": weight, "bias": tensor("random.bias", (classes,)),
            "labels": labels}


def at_angles(name, angles, norm=2.5):
    """Sample k lies at `angles[k]` radians from its class weight."""
    classes, dim = 4, 6
    weight = tensor(f"{name}.weight", (classes, dim))
    labels = torch.arange(len(angles)) % classes
    along = F.normalize(weight)[labels]
    aside = tensor(f"{name}.aside", (len(angles), dim))
    aside = F.normalize(aside - (aside * along).sum(1, keepdim=True) * along)
    embedding = norm * (angles.cos()[:, None] * along + angles.sin()[:, None] * aside)
    return {"embedding": embedding, "weight": weight, "labels": labels}


def swept_input():
    """1, 3, ... 179 degrees from the class weight."""
    return at_angles("swept", torch.deg2rad(torch.arange(1.0, 180.0, 2.0)))


def kinks_input():
    """5e-3 from 0 and pi, and 1e-3 to either side of every angle where a target logit changes its
    formula: k pi / m of the multiplicative margins, pi - m of the additive ones, pi / 2."""
    places = {math.pi / 2, math.pi / 1.7, math.pi / 1.35, math.pi - 0.5, math.pi - 0.35}
    places |= {k * math.pi / m for m in (3, 4) for k in range(1, m)}
    around = [place + side for place in sorted(places) for side in (-1e-3, 1e-3)]
    return at_angles("kinks", torch.tensor([5e-3, *around, math.pi - 5e-3]))


def aligned_input():
    """Embeddings parallel and anti-parallel to class weights: along an axis, where the cosine is
    exactly +-1 in any precision, and along any direction, where it may round past 1."""
    dim = 5
    oblique = tensor("aligned.weight", (2, dim))
    weight = torch.cat([2.0 * torch.eye(dim)[:2], oblique])
    labels = torch.arange(8) % 4
    signs = torch.tensor([1.0] * 4 + [-1.0] * 4)[:, None]
    return {"embedding": 3.0 * signs * weight[labels], "weight": weight, "labels": labels}


def one_class_input():
    batch, dim = 5, 4
    return {"embedding": tensor("one_class.embedding", (batch, dim)),
            "weight": tensor("one_class.weight", (1, dim)),
            "bias": tensor("one_class.bias", (1,)), "labels": torch.zeros(batch, dtype=torch.int64)}


def repeated_input():
    """All samples of one class out of five."""
    batch, classes, dim = 6, 5, 6
    return {"embedding": tensor("repeated.embedding", (batch, dim)),
            "weight": tensor("repeated.weight", (classes, dim)),
            "bias": tensor("repeated.bias", (classes,)), "labels": torch.full((batch,), 2)}


def of_norms(name, norms):
    """Random directions with prescribed norms."""
    batch, classes, dim = len(norms), 4, 5
    return {"embedding": with_norms(tensor(f"{name}.embedding", (batch, dim)), norms),
            "weight": tensor(f"{name}.weight", (classes, dim)),
            "labels": torch.arange(batch) * 3 % classes}


def subcenters_input():
    """12 weight rows: 4 classes of 3 sub-centres, or 6 (the last two without samples) of 2."""
    batch, rows, dim = 14, 12, 6
    weight = tensor("subcenters.weight", (rows, dim))
    labels = torch.arange(batch) * 3 % 4
    mix = torch.linspace(-1.2, 1.2, batch)[:, None]
    embedding = mix * weight[3 * labels + torch.arange(batch) % 3]
    embedding += 0.6 * tensor("subcenters.noise", (batch, dim))
    return {"embedding": embedding, "weight": weight, "labels": labels}


def margin_inputs():
    return {
        "random": random_input(), "swept": swept_input(), "kinks": kinks_input(),
        "aligned": aligned_input(), "one_class": one_class_input(), "repeated": repeated_input(),
        "tiny": of_norms("tiny", [2e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-6]),
        "huge": of_norms("huge", [1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e12]),
        "norms": of_norms("norms", [1e-8, 1e-4, 1.01e-3, 0.5, 7.0, 20.0, 60.0, 99.0, 100.5, 1e4]),
        "single": of_norms("single", [12.0]), "subcenters": subcenters_input(),
    }
