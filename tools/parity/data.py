"""Makes tests/fixtures/data: images as PIL and torchvision decode, resize and rotate them.

    python tools/parity/data.py

Needs torchvision and pillow (see requirements.txt). Every picture is drawn here.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

OUT = Path(__file__).parents[2] / "tests" / "fixtures" / "data"


def picture(width, height, seed=0):
    """Smooth colours with edges and some noise, so that wrong filters show."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    rng = np.random.default_rng(seed)
    image = np.stack(
        [127 + 127 * np.sin(9 * x + 2 * y), 255 * y, 255 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06)], -1
    )
    return Image.fromarray(np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8))


def png16(array):
    """PIL writes no 16-bit colour."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def expected(name, image):
    image.convert("RGB").save(OUT / f"{name}.expected.png", optimize=True)


def decode():
    rgb = picture(40, 24)
    upright = Image.Exif()
    upright[0x0112] = 6
    files = {
        "plain.jpg": (rgb, dict(quality=90)),
        "progressive.jpg": (rgb, dict(quality=90, progressive=True)),
        "sampled_444.jpg": (rgb, dict(quality=90, subsampling=0)),
        "grey.jpg": (rgb.convert("L"), dict(quality=90)),
        "cmyk.jpg": (rgb.convert("CMYK"), dict(quality=90)),
        "turned.jpg": (rgb, dict(quality=90, exif=upright)),
        "palette.png": (rgb.quantize(16), {}),
        "grey.png": (rgb.convert("L"), {}),
        "plain.bmp": (rgb, {}),
        "plain.ppm": (rgb, {}),
        "grey.pgm": (rgb.convert("L"), {}),
        "plain.webp": (rgb, dict(lossless=True)),
        "lossy.webp": (rgb, dict(quality=80)),
    }
    for name, (image, options) in files.items():
        image.save(OUT / name, **options)
        opened = ImageOps.exif_transpose(Image.open(OUT / name))
        expected(name, opened)
    (OUT / "misnamed.png").write_bytes((OUT / "plain.jpg").read_bytes())
    expected("misnamed.png", Image.open(OUT / "plain.jpg"))

    rgba = rgb.copy()
    rgba.putalpha(rgb.convert("L").point(lambda v: min(255, 2 * v)))
    rgba.save(OUT / "alpha.png")
    expected("alpha.png", Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba))

    wide = np.asarray(rgb).astype(np.uint32) * 257 + np.arange(40)[None, :, None] * 3
    wide = np.minimum(wide, 65535)
    narrow = np.round(wide / 257).astype(np.uint8)
    (OUT / "colour16.png").write_bytes(png16(wide))
    expected("colour16.png", Image.fromarray(narrow))
    (OUT / "grey16.png").write_bytes(png16(wide[..., :1]))
    expected("grey16.png", Image.fromarray(narrow[..., 0]))


def resize():
    source = picture(60, 45, seed=1)
    source.save(OUT / "source.png", optimize=True)
    for height, width in [(16, 16), (45, 30), (90, 100), (13, 57)]:
        stretched = F.resize(source, [height, width], InterpolationMode.BILINEAR, antialias=True)
        expected(f"stretch_{height}x{width}", stretched)
    for size in [20, 33, 64]:
        cropped = F.center_crop(F.resize(source, size, InterpolationMode.BILINEAR, antialias=True), size)
        expected(f"crop_{size}x{size}", cropped)


def published():
    """As torchvision's ImageClassification and OpenAI's CLIP prepare images: a shorter side, then the middle."""
    source = picture(60, 45, seed=1)
    for name, mode in [("bilinear", InterpolationMode.BILINEAR), ("bicubic", InterpolationMode.BICUBIC)]:
        for side, size in [(37, 32), (20, 20), (64, 50)]:
            scaled = F.resize(source, side, mode, antialias=True)
            expected(f"{name}_{side}_{size}", F.center_crop(scaled, size))


def rotate():
    source = picture(60, 45, seed=1)
    for angle in [-10.0, -3.3, 0.1, 7.5, 10.0, 45.0]:
        expected(f"rotate_{angle}", F.rotate(source, angle, InterpolationMode.BILINEAR, fill=0))


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    decode()
    resize()
    published()
    rotate()
