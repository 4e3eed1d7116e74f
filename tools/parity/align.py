"""Makes tests/fixtures/align: similarity transforms by scikit-image and faces aligned by OpenCV.

    python tools/parity/align.py

Needs scikit-image, opencv-python-headless and pillow (see requirements.txt). This is what InsightFace's
face_align.norm_crop does.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage.transform import SimilarityTransform

OUT = Path(__file__).parents[2] / "tests" / "fixtures" / "align"
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


def picture(width, height):
    """Smooth colours with edges, 3 to 30 pixels wide."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    image = [127 + 120 * np.sin(0.2 * x + 0.05 * y), 255 * y / height, 250 * ((x // 17 + y // 11) % 2)]
    return np.clip(np.stack(image, -1), 0, 255).astype(np.uint8)


def matrix(points, size):
    return SimilarityTransform.from_estimate(np.array(points), TEMPLATE * (size / 112)).params[:2]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(150, 130)).save(OUT / "source.jpg", quality=90)
    source = np.asarray(Image.open(OUT / "source.jpg").convert("RGB"))
    rng = np.random.default_rng(0)
    cases = []
    # Scale, degrees and shift of the template in the picture; the noise makes it no exact fit.
    for name, size, scale, degrees, shift, noise in [
        ("upright", 56, 0.9, 0, (20, 10), 1.0),
        ("turned", 56, 0.8, 27, (60, -5), 2.0),
        ("enlarged", 64, 0.35, -12, (40, 50), 0.7),
        ("at_the_edge", 48, 1.1, -40, (-30, 60), 3.0),
        ("upside_down", 40, 1.0, 170, (130, 120), 2.0),
    ]:
        angle = np.deg2rad(degrees)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = np.round(TEMPLATE @ turn.T + shift + rng.normal(0, noise, (5, 2)), 3)
        cases.append(dict(name=name, size=size, points=points.tolist(), matrix=matrix(points, size).tolist()))
        aligned = cv2.warpAffine(source, matrix(points, size), (size, size), borderValue=0.0)
        Image.fromarray(aligned).save(OUT / f"{name}.png", optimize=True)
    # Any points, near and far.
    for number in range(20):
        spread = 10 ** rng.uniform(0.5, 3.5)
        points = np.round(rng.normal(0, spread, (5, 2)) + rng.uniform(-3000, 3000, 2), 3)
        size = int(rng.integers(16, 512))
        cases.append(dict(name=None, size=size, points=points.tolist(), matrix=matrix(points, size).tolist()))
    (OUT / "cases.json").write_text(json.dumps(cases, indent=0) + "\n")


if __name__ == "__main__":
    main()
