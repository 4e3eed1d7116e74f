"""Fixtures for cross_entropy, arcface and cosface in float64: see README.md."""

import math

import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss

import fill
import fixtures
from margin_softmax import margin_logits


def tensor(name, shape):
    return torch.from_numpy(fill.symmetric(f"loss.{name}", shape))


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


def swept_input():
    """Sample k lies at 1 + 2 k degrees from its class weight: 1, 3, ... 179."""
    angles = torch.deg2rad(torch.arange(1.0, 180.0, 2.0))
    classes, dim = 4, 6
    weight = tensor("swept.weight", (classes, dim))
    labels = torch.arange(len(angles)) % classes
    along = F.normalize(weight)[labels]
    aside = tensor("swept.aside", (len(angles), dim))
    aside = F.normalize(aside - (aside * along).sum(1, keepdim=True) * along)
    embedding = 2.5 * (angles.cos()[:, None] * along + angles.sin()[:, None] * aside)
    return {"embedding": embedding, "weight": weight, "labels": labels}


def aligned_input():
    """Embeddings parallel and anti-parallel to class weights: along an axis, where the cosine is
    exactly +-1 in any precision, and along any direction, where it may round past 1."""
    dim = 5
    oblique = tensor("aligned.weight", (2, dim))
    weight = torch.cat([2.0 * torch.eye(dim)[:2], oblique])
    labels = torch.arange(8) % 4
    signs = torch.tensor([1.0] * 4 + [-1.0] * 4)[:, None]
    return {"embedding": 3.0 * signs * weight[labels], "weight": weight, "labels": labels}


def with_gradients(inputs, loss_of):
    """Runs `loss_of(leaves) -> (logits, loss)` and collects values and gradients."""
    leaves = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in inputs.items()}
    logits, loss = loss_of(leaves)
    loss.backward()
    out = {"logits": logits, "loss": loss}
    for name, leaf in leaves.items():
        if leaf.grad is not None:
            out[f"grad_{name}"] = leaf.grad
    return {k: v.detach() for k, v in out.items()}


def torch_cross_entropy(inputs, label_smoothing):
    def run(x):
        logits = F.linear(x["embedding"], x["weight"], x["bias"])
        return logits, F.cross_entropy(logits, x["labels"], label_smoothing=label_smoothing)

    return with_gradients(inputs, run)


def formula(inputs, config):
    def run(x):
        logits = margin_logits(x["embedding"], x["weight"], x["labels"], **config)
        return logits, F.cross_entropy(logits, x["labels"])

    return with_gradients({k: v for k, v in inputs.items() if k != "bias"}, run)


def pytorch_metric_learning(inputs, config):
    """Loss and gradients from the package; it counts angles in degrees and keeps W as [D, C].
    Its loss has no public logits with margin: those come from `formula`."""
    classes, dim = inputs["weight"].shape
    if config["kind"] == "arcface":
        loss_fn = ArcFaceLoss(classes, dim, math.degrees(config["margin"]), config["scale"])
    else:
        loss_fn = CosFaceLoss(classes, dim, margin=config["margin"], scale=config["scale"])
    loss_fn.W.data = inputs["weight"].t().clone()
    embedding = inputs["embedding"].clone().requires_grad_()
    loss = loss_fn(embedding, inputs["labels"])
    loss.backward()
    return {"loss": loss.detach(), "grad_embedding": embedding.grad, "grad_weight": loss_fn.W.grad.t()}


def all_cases():
    """(input, reference, config)"""
    torch_ref, package = "torch", "pytorch-metric-learning"
    for smoothing in (0.0, 0.1):
        yield "random", torch_ref, {"kind": "cross_entropy", "label_smoothing": smoothing}

    def arcface(scale, margin, boundary="line", easy_margin=False, gradient="exact"):
        return {"kind": "arcface", "scale": scale, "margin": margin, "boundary": boundary,
                "easy_margin": easy_margin, "gradient": gradient}

    def cosface(scale, margin):
        return {"kind": "cosface", "scale": scale, "margin": margin}

    for scale in (64.0, 30.0):
        for margin in (0.5, 0.35):
            yield "random", package, arcface(scale, margin)
            yield "swept", package, arcface(scale, margin)
        for margin in (0.35, 0.4):
            yield "random", package, cosface(scale, margin)
        yield "swept", package, cosface(scale, 0.35)
    yield "random", package, arcface(64.0, 0.0)

    variants = [("none", False), ("clip", False), ("line", True), ("line", False)]
    for boundary, easy_margin in variants:
        for gradient in ("exact", "detached"):
            config = arcface(64.0, 0.5, boundary, easy_margin, gradient)
            yield "aligned", "finite", config
            if (boundary, easy_margin, gradient) == ("line", False, "exact"):
                continue  # the package's case above
            yield "random", torch_ref, config
            yield "swept", torch_ref, config
            yield "swept", torch_ref, {**config, "scale": 30.0}
    yield "aligned", "finite", cosface(64.0, 0.35)


def case_name(source, config):
    short = {"easy_margin": "easy", "label_smoothing": "smoothing"}
    parts = [config["kind"], source]
    for key, value in config.items():
        if key == "easy_margin":
            parts += ["easy"] * value
        elif isinstance(value, float):
            parts.append(f"{short.get(key, key[0])}{value:g}")
        elif key != "kind":
            parts.append(value)
    return "_".join(parts)


def main():
    fixtures.setup()
    inputs = {"random": random_input(), "swept": swept_input(), "aligned": aligned_input()}
    cases, expected = [], {}
    for source, reference, config in all_cases():
        x = inputs[source]
        if config["kind"] == "cross_entropy":
            out = torch_cross_entropy(x, config["label_smoothing"])
        else:
            out = formula(x, config)
        if reference == "pytorch-metric-learning":
            for key, value in pytorch_metric_learning(x, config).items():
                torch.testing.assert_close(out[key], value, rtol=1e-10, atol=1e-12)
                out[key] = value
        if reference == "finite":  # autograd through acos is infinite here: no gradient to match
            out = {"logits": out["logits"], "loss": out["loss"]}
        assert all(v.isfinite().all() for v in out.values())
        name = case_name(source, config)
        assert all(case["name"] != name for case in cases), name
        keys = {k: v for k, v in config.items() if k != "kind"}
        cases.append({"name": name, "kind": config["kind"], "config": keys, "input": source,
                      "reference": reference, "expected": list(out)})
        expected |= {f"{name}.{key}": value for key, value in out.items()}
    fixtures.save_json("loss", "cases.json", cases)
    fixtures.save_tensors("loss", "inputs.safetensors",
                          {f"{s}.{k}": v for s, x in inputs.items() for k, v in x.items()})
    fixtures.save_tensors("loss", "expected.safetensors", expected)


if __name__ == "__main__":
    main()
