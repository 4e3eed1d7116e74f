"""The losses over class weights from packages: torch and pytorch-metric-learning."""

import math

import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses as pml

TORCH, PACKAGE = "torch", "pytorch-metric-learning"


def package_loss(kind, config, classes, dim):
    """The package's loss with its own names for the keys, or None where it has none such."""
    exact_line = config.get("gradient") == "exact" and config.get("boundary") == "line"
    if kind == "norm_softmax":
        return pml.NormalizedSoftmaxLoss(classes, dim, temperature=1.0 / config["scale"])
    if kind == "cosface":
        return pml.CosFaceLoss(classes, dim, margin=config["margin"], scale=config["scale"])
    if kind == "combined" and (config["m1"], config["m2"]) == (1.0, 0.0):
        return pml.CosFaceLoss(classes, dim, margin=config["m3"], scale=config["scale"])
    degrees = math.degrees(config.get("margin", 0.0))
    if kind == "arcface" and exact_line and not config["easy_margin"]:
        return pml.ArcFaceLoss(classes, dim, degrees, config["scale"])
    if kind == "subcenter_arcface" and exact_line:
        return pml.SubCenterArcFaceLoss(
            num_classes=classes // config["subcenters"], embedding_size=dim, margin=degrees,
            scale=config["scale"], sub_centers=config["subcenters"])
    return None


def package_gradients(loss_fn, inputs):
    """Loss and gradients; the package keeps W as [D, C], the sub-centres of a class adjacent."""
    loss_fn.W.data = inputs["weight"].t().clone()
    embedding = inputs["embedding"].clone().requires_grad_()
    loss = loss_fn(embedding, inputs["labels"])
    loss.backward()
    return {"loss": loss.detach(), "grad_embedding": embedding.grad,
            "grad_weight": loss_fn.W.grad.t()}


def torch_cross_entropy(inputs, config):
    leaves = {k: inputs[k].clone().requires_grad_() for k in ("embedding", "weight", "bias")}
    logits = F.linear(leaves["embedding"], leaves["weight"], leaves["bias"])
    smoothing = config["label_smoothing"]
    loss = F.cross_entropy(logits, inputs["labels"], label_smoothing=smoothing)
    loss.backward()
    return {"loss": loss.detach()} | {f"grad_{k}": leaf.grad for k, leaf in leaves.items()}


def library(inputs, kind, config):
    """(name of the library, its loss and gradients), or (None, {})."""
    if kind == "cross_entropy":
        return TORCH, torch_cross_entropy(inputs, config)
    loss_fn = package_loss(kind, config, *inputs["weight"].shape)
    if loss_fn is None:
        return None, {}
    return PACKAGE, package_gradients(loss_fn, inputs)


def check_sphereface(inputs, out_of):
    """The package's SphereFaceLoss is ours with lambda 0, but for the weights: it differentiates
    through their normalisation, so its gradient is ours on the tangent, over the weight's norm.

    `out_of(config, state)` runs the loops."""
    classes, dim = inputs["weight"].shape
    for m in (1, 2, 3, 4):
        theirs = package_gradients(pml.SphereFaceLoss(classes, dim, margin=m), inputs)
        config = {"margin": m, "lambda_base": 0.0, "lambda_gamma": 0.0, "lambda_power": 1.0,
                  "lambda_min": 0.0}
        ours = out_of(config, {"iteration": 0})
        unit = F.normalize(inputs["weight"])
        gradient = ours["grad_weight"]
        tangent = gradient - (gradient * unit).sum(1, keepdim=True) * unit
        ours["grad_weight"] = tangent / inputs["weight"].norm(dim=1, keepdim=True)
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, rtol=1e-10, atol=1e-10)
