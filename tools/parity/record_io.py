"""Writes tests/fixtures/data/record_io/: small RecordIO files by MXNet itself, and what MXNet reads of them.

Needs an environment of its own: pip install -r tools/parity/requirements-mxnet.txt (Python 3.11).
"""

import hashlib
import io
import json
import struct
from pathlib import Path

from mxnet import recordio
from PIL import Image

OUT = Path(__file__).resolve().parents[2] / "tests/fixtures/data/record_io"
MAGIC = struct.pack("<I", 0xCED7230A)
HEAD = struct.calcsize("IfQQ")


def jpeg(number):
    """8 x 8 pixels of a colour of their own."""
    picture = Image.new("RGB", (8, 8), (number * 23 % 256, number * 71 % 256, number * 149 % 256))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()


def with_comment(image, payload_offset, words):
    """The JPEG with a comment of `words`, whose first byte is at a payload offset divisible by 4."""
    pad = -(payload_offset + 6) % 4
    text = b"x" * pad + b"".join(words)
    return image[:2] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + image[2:]


def header(label, number, flag=0):
    return recordio.IRHeader(flag, label, number, 0)


def write(name, records):
    out = recordio.MXIndexedRecordIO(str(OUT / f"{name}.idx"), str(OUT / f"{name}.rec"), "w")
    for key, (head, image) in records:
        out.write_idx(key, recordio.pack(head, image))
    out.close()


def expect(name, keys):
    """Class, image and its SHA-256 as MXNet reads them."""
    source = recordio.MXIndexedRecordIO(str(OUT / f"{name}.idx"), str(OUT / f"{name}.rec"), "r")
    rows = []
    for key in keys:
        head, image = recordio.unpack(source.read_idx(key))
        label = head.label if isinstance(head.label, float) else head.label[0]
        digest = hashlib.sha256(image).hexdigest()
        rows.append({"key": key, "class": int(label), "bytes": len(image), "sha256": digest})
    return rows


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    # InsightFace's layout: images 1 to 8 of the classes 0, 2 and 10, identity records 9 to 11.
    images = [
        (header(0.0, 1), jpeg(1)),
        (header(0.0, 2), jpeg(2)),
        # Two labels: the first is the class.
        (header([2.0, 7.0], 3), jpeg(3)),
        # A magic where a record is split, twice in a row, which leaves an empty part between.
        (header(2.0, 4), with_comment(jpeg(4), HEAD, [MAGIC, MAGIC, b"tail"])),
        # Beside it: this one stays.
        (header(2.0, 5), with_comment(jpeg(5), HEAD, [b"y" + MAGIC + b"zzz"])),
        (header([2.0], 6), with_comment(jpeg(6), HEAD + 4, [b"head", MAGIC])),
        (header(10.0, 7), jpeg(7)),
        (header(10.0, 8), jpeg(8)),
    ]
    end = len(images) + 1
    ranges = [(1, 3), (3, 7), (7, 9)]
    records = [(0, (header([float(end), float(end + len(ranges))], 0, 2), b""))]
    records += list(enumerate(images, 1))
    records += [
        (end + n, (header([float(a), float(b)], end + n, 2), b"")) for n, (a, b) in enumerate(ranges)
    ]
    write("train", records)
    (OUT / "property").write_text("11,8,8\n")
    # Every key is an image, and the keys are what somebody chose.
    plain = [(key, (header(float(key % 2), key), jpeg(key))) for key in (0, 3, 5, 12)]
    write("plain", plain)
    expected = {
        "train": expect("train", range(1, end)),
        "plain": expect("plain", [key for key, _ in plain]),
    }
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
