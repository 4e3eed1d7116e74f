"""Loads the CLIP files that arcrun wrote into open_clip and transformers, strictly, and compares features.

    python tools/parity/check_clip.py FOLDER

FOLDER holds {activation}.{open_clip,transformers,expected}.safetensors as tests/parity_clip.rs writes them.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from clip import OpenClip, Transformers


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    for activation in ("quick_gelu", "gelu"):
        expected = load_file(folder / f"{activation}.expected.safetensors")
        for library, network in (("open_clip", OpenClip), ("transformers", Transformers)):
            network = network(activation).eval()
            network.model.load_state_dict(load_file(folder / f"{activation}.{library}.safetensors"), strict=True)
            with torch.no_grad():
                features = network(expected["images"], expected["tokens"])
            for name, ours in zip(("image", "text"), features):
                difference = (ours - expected[name]).abs().max().item() / expected[name].abs().max().item()
                print(f"{library} {activation} {name}: {difference:.1e} of the largest value")
                if not difference < 1e-5:
                    sys.exit(f"{library} {activation}: {name} features differ")


if __name__ == "__main__":
    main()
