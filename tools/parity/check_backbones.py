"""Loads the backbone files that arcrun wrote into torchvision and facenet-pytorch, strictly, and compares features.

    python tools/parity/check_backbones.py FOLDER

FOLDER holds KIND.safetensors and KIND.expected.safetensors (`images`, `features`) as tests/backbones.rs writes
them. Classifiers, which a backbone has not, are taken off the libraries' networks first.
"""

import sys
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file

# Of the largest value: float32 by the same operations, summed in another order.
TOLERANCE = 1e-4


def network(kind):
    if kind == "inception_resnet_v1":
        from facenet_pytorch import InceptionResnetV1

        model = InceptionResnetV1(pretrained=None, classify=True, num_classes=2)
        # What comes before its own normalisation.
        model.logits = torch.nn.Identity()
        return model
    model = torchvision.models.get_model(kind, weights=None)
    if kind == "efficientnet_b0":
        model.classifier = torch.nn.Identity()
    else:
        model.fc = torch.nn.Identity()
    return model


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    files = sorted(path for path in folder.glob("*.safetensors") if ".expected" not in path.name)
    if not files:
        sys.exit(f"{folder} holds no file")
    for path in files:
        model = network(path.stem)
        # A file without version numbers: PyTorch then sets the counts of batches itself, strict or not.
        model.load_state_dict(load_file(path), strict=True)
        expected = load_file(folder / f"{path.stem}.expected.safetensors")
        with torch.no_grad():
            features = model.eval()(expected["images"])
        difference = ((features - expected["features"]).abs().max() / expected["features"].abs().max()).item()
        print(f"{path.stem}: {difference:.1e} of the largest value")
        if not difference <= TOLERANCE:
            sys.exit(f"{path.stem}: features differ")


if __name__ == "__main__":
    main()
