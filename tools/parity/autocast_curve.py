"""A small network trained for some steps under torch.autocast, with torch.amp.GradScaler for float16.

    python tools/parity/autocast_curve.py

Writes tests/fixtures/autocast/curves.json. Weights and images are by formula (fill.py), so tests/amp_curve.rs
trains the same network on the same batches. Losses are computed in float32 outside of the region.
"""

import torch
import torch.nn.functional as F

from fill import fill_module, parameter, uniform
from fixtures import save_json
from margin_softmax import margin_logits
from models import Network, normalise

CLASSES, BATCH, SIZE, STEPS, LR, MOMENTUM = 6, 12, 32, 12, 0.01, 0.9
SCALE, MARGIN = 16.0, 0.2


def batch(step):
    pixels = torch.from_numpy((uniform(f"pixels.{step}", (BATCH, 3, SIZE, SIZE)) * 256).astype("uint8"))
    return normalise(pixels, [0.5] * 3, [0.5] * 3), torch.arange(BATCH) % CLASSES


def curve(kind, scaler_state):
    network = Network("efficient_fr", {"channels": [8, 16], "depths": [1, 1]}, {"embedding_dim": 16}).train()
    fill_module(network)
    weight = torch.nn.Parameter(torch.from_numpy(parameter("loss.weight", (CLASSES, 16))).float())
    optimizer = torch.optim.SGD([*network.parameters(), weight], lr=LR, momentum=MOMENTUM)
    scaler = None
    if scaler_state:
        scaler = torch.amp.GradScaler("cpu")
        scaler.load_state_dict(scaler.state_dict() | scaler_state)
        scaler.scale(torch.zeros(()))  # makes the tensors that the state is in
    losses, scales, norms = [], [], []
    for step in range(STEPS):
        images, labels = batch(step % 3)
        with torch.autocast("cpu", dtype=kind, enabled=kind != torch.float32):
            embedding = network(images)
        assert embedding.dtype == kind
        logits = margin_logits(embedding.float(), weight, labels, "arcface", SCALE, MARGIN, clamp=1.0 - 1e-7)
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        parameters = [*network.parameters(), weight]
        if scaler:
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            norms.append(torch.nn.utils.get_total_norm([p.grad for p in parameters]).item())
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
        else:
            loss.backward()
            norms.append(torch.nn.utils.get_total_norm([p.grad for p in parameters]).item())
            optimizer.step()
        losses.append(loss.item())
    norms = [norm if norm < float("inf") else None for norm in norms]
    return {"losses": losses, "scales": scales, "grad_norms": norms}


def main():
    torch.set_num_threads(1)
    curves = {
        "off": curve(torch.float32, None),
        "bf16": curve(torch.bfloat16, None),
        # The scale is halved until the gradients fit.
        "fp16_backoff": curve(torch.float16, {"scale": 2.0**18, "_growth_tracker": 0}),
        # It doubles in the fifth step.
        "fp16_growth": curve(torch.float16, {"scale": 2.0**10, "_growth_tracker": 1995}),
    }
    for name, values in curves.items():
        print(name, [round(loss, 4) for loss in values["losses"]], values["scales"], values["grad_norms"])
    save_json("autocast", "curves.json", curves)


if __name__ == "__main__":
    main()
