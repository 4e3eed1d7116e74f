"""Loads both forms of an exported model in PyTorch and compares embeddings with those that arcrun gave.

    check_export.py MODEL.pt MODEL.safetensors EXPECTED.safetensors

EXPECTED has `pixels` uint8 [N, 3, H, W] and `embedding` float32 [N, D]. The networks of `models.py` take
the weights of MODEL.safetensors by name, built and normalised as its header says."""

import json
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models import Network, normalise

# Of the largest value: float32 by the same operations, but on other paths through the kernels.
TOLERANCE = 1e-5


def compare(name, ours, expected):
    if ours.shape != expected.shape or ours.dtype != expected.dtype:
        sys.exit(f"{name}: {ours.dtype} {list(ours.shape)} for {expected.dtype} {list(expected.shape)}")
    difference = ((ours - expected).abs().max() / expected.abs().max()).item()
    print(f"{name}: {list(ours.shape)}, largest difference {difference:.1e}")
    if not difference <= TOLERANCE:
        sys.exit(f"{name}: differs by {difference:.1e}, allowed {TOLERANCE:.0e}")


def from_weights(path):
    with safe_open(path, "pt") as file:
        texts = file.metadata()
    backbone, head = json.loads(texts["backbone"]), json.loads(texts["head"])
    network = Network(backbone.pop("kind"), backbone, head)
    missing, unexpected = network.load_state_dict(load_file(path), strict=False)
    # Only PyTorch counts batches.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        sys.exit(f"{path}: missing {missing}, unexpected {unexpected}")
    return network.eval(), json.loads(texts["preprocess"]), texts


@torch.no_grad()
def main(module_path, weights_path, expected_path):
    expected = load_file(expected_path)
    pixels, embedding = expected["pixels"], expected["embedding"]
    module = torch.jit.load(module_path, map_location="cpu")
    # Follows map_location: no step is bound to a device.
    assert "device(" not in module.code, module.code
    for size in {1, len(pixels) // 2, len(pixels)}:
        for dtype in (torch.uint8, torch.float32):
            given = pixels[:size].to(dtype)
            compare(f"TorchScript, {size} images of {dtype}", module(given), embedding[:size])
            assert torch.equal(given, pixels[:size].to(dtype)), "the module changed its input"
    network, preprocess, texts = from_weights(weights_path)
    assert [preprocess["height"], preprocess["width"]] == list(pixels.shape[2:]), preprocess
    assert int(texts["embedding_dim"]) == embedding.shape[1], texts
    images = normalise(pixels, preprocess["mean"], preprocess["std"])
    compare(f"weights by name, {len(pixels)} images", network(images), embedding)


if __name__ == "__main__":
    main(*sys.argv[1:])
