"""Makes tests/fixtures/augmentation: what torchvision and PIL make of tests/fixtures/data/source.png.

    python tools/parity/augmentation.py

Needs torchvision and pillow (see requirements.txt). Colours, greyscale, crop and low resolution go over
PIL images, as a training on an ImageFolder does; hue, blur, JPEG and erasing over tensors.
"""

import math
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"
OUT = FIXTURES / "augmentation"


def write(name, image):
    if isinstance(image, torch.Tensor):
        image = F.to_pil_image(image)
    image.convert("RGB").save(OUT / f"{name}.png", optimize=True)


def scale(image, height, width):
    return F.resize(image, [height, width], InterpolationMode.BILINEAR, antialias=True)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    source = Image.open(FIXTURES / "data" / "source.png").convert("RGB")
    tensor = F.pil_to_tensor(source)

    for left, top, width, height, size in [(7, 4, 40, 30, (32, 32)), (0, 0, 20, 45, (45, 30)), (49, 32, 11, 13, (24, 28))]:
        cut = F.resized_crop(source, top, left, height, width, list(size), InterpolationMode.BILINEAR, antialias=True)
        write(f"crop_{left}_{top}_{width}x{height}", cut)
    for factor in [0.6, 1.4]:
        write(f"brightness_{factor}", F.adjust_brightness(source, factor))
        write(f"contrast_{factor}", F.adjust_contrast(source, factor))
        write(f"saturation_{factor}", F.adjust_saturation(source, factor))
    for turn in [-0.1, 0.4]:
        write(f"hue_{turn}", F.adjust_hue(tensor, turn))
    write("hue_pil_-0.1", F.adjust_hue(source, -0.1))
    write("greyscale", F.rgb_to_grayscale(source, 3))
    for sigma in [0.4, 2.0]:
        write(f"blur_{sigma}", F.gaussian_blur(tensor, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2))
    for side, width in [(20, 27), (9, 12)]:
        write(f"low_resolution_{side}", scale(scale(source, side, width), 45, 60))
    for quality in [10, 30, 75, 95]:
        write(f"jpeg_{quality}", F.jpeg(tensor, quality))
    write("cutout", F.erase(tensor, 9, 14, 20, 31, torch.zeros(3, 1, 1, dtype=torch.uint8)))


if __name__ == "__main__":
    main()
