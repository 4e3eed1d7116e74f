"""Runs the cases of the losses over class weights and holds the loops against the libraries."""

import torch
import torch.nn.functional as F

from margin_softmax import margin_logits

from . import margin_library as libraries
from .margin_cases import cases
from .margin_loops import margin_loss


def run_loops(inputs, kind, config, state=None, train=True):
    """Values and gradients, by the loops."""
    names = ["embedding", "weight"] + ["bias"] * (kind == "cross_entropy")
    values = {name: inputs[name].clone() for name in names}
    if kind == "sphereface":
        values["weight"] = F.normalize(values["weight"])
    leaves = {name: value.requires_grad_() for name, value in values.items()}
    out = margin_loss(leaves | {"labels": inputs["labels"]}, kind, config, state, train)
    out["loss"].backward()
    out |= {f"grad_{name}": leaf.grad for name, leaf in leaves.items()}
    return {name: value.detach() for name, value in out.items()}


def check_formulas(inputs, kind, config, loops):
    """`margin_softmax.py` trains beside arcrun: it must say the same."""
    leaves = {k: inputs[k].clone().requires_grad_() for k in ("embedding", "weight")}
    logits = margin_logits(leaves["embedding"], leaves["weight"], inputs["labels"], kind, **config)
    loss = F.cross_entropy(logits, inputs["labels"])
    loss.backward()
    out = {"loss": loss.detach()} | {f"grad_{k}": leaf.grad for k, leaf in leaves.items()}
    same(loops, out, inputs)


def same(ours, theirs, inputs):
    """1e-10 of the largest magnitude, once each row of an embedding's gradient is multiplied by
    that row's norm: the gradient goes with its inverse."""
    for key, value in theirs.items():
        pair = [ours[key], value]
        if key in ("grad_embedding", "grad_image", "grad_text"):
            norms = inputs[key.removeprefix("grad_")].norm(dim=1, keepdim=True)
            pair = [gradient * norms for gradient in pair]
        bound = 1e-10 * max(tensor.abs().max().item() for tensor in pair)
        torch.testing.assert_close(*pair, rtol=0.0, atol=bound, msg=lambda m: f"{key}: {m}")


def run(inputs):
    """Yields (case, values) for every case."""
    libraries.check_sphereface(inputs["random"], lambda config, state: run_loops(
        inputs["random"], "sphereface", config, state))
    for case in cases():
        x, kind, config = inputs[case["input"]], case["kind"], case["config"]
        out = run_loops(x, kind, config, case.get("state"), case.get("train", True))
        if case.get("reference") == "finite":
            yield case, {k: v for k, v in out.items() if not k.startswith("grad_")}
            continue
        name, values = libraries.library(x, kind, config)
        same(out, values, x)
        if kind in ("arcface", "cosface"):
            check_formulas(x, kind, config, out)
        yield case | {"reference": name or "loops"}, out | values
