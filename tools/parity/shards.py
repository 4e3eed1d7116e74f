"""Writes tests/fixtures/data/webdataset/: shards by the package webdataset and, with names longer than a
tar header holds, by tarfile in GNU's and in PAX's form; and what webdataset reads of them.
"""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import webdataset
from PIL import Image

OUT = Path(__file__).resolve().parents[2] / "tests/fixtures/data/webdataset"


def picture(number, form):
    """8 x 8 pixels of a colour of their own."""
    image = Image.new("RGB", (8, 8), (number * 23 % 256, number * 71 % 256, number * 149 % 256))
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


def sample(number):
    return {
        "__key__": f"part/{number:06d}",
        "jpg": picture(number, "JPEG"),
        "cls": [9, 10, 11][number % 3],
        "json": {"person": {"name": f"name {number % 2}", "number": number % 2}},
        "txt": f"picture number {number}",
    }


def long_names(path, form, first):
    with tarfile.open(path, "w", format=form) as tar:
        for number in (first, first + 1):
            key = f"{'long' * 30}/é{number}"
            for ending, content in [
                ("png", picture(number, "PNG")),
                ("cls", str([9, 10, 11][number % 3]).encode()),
                ("json", json.dumps(sample(number)["json"]).encode()),
                ("txt", f"picture number {number}".encode()),
            ]:
                member = tarfile.TarInfo(f"./{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(OUT / "train-%04d.tar"), maxcount=6, mtime=0, verbose=0) as out:
        for number in range(12):
            out.write(sample(number))
    long_names(OUT / "train-0002.tar", tarfile.GNU_FORMAT, 12)
    long_names(OUT / "train-0003.tar", tarfile.PAX_FORMAT, 14)
    rows = []
    shards = sorted(OUT.glob("*.tar"))
    for shard in shards:
        for read in webdataset.WebDataset(str(shard), shardshuffle=False):
            ending = "jpg" if "jpg" in read else "png"
            rows.append(
                {
                    "shard": shard.name,
                    "key": read["__key__"].removeprefix("./"),
                    "ending": ending,
                    "class": read["cls"].decode(),
                    "name": json.loads(read["json"])["person"]["name"],
                    "caption": read["txt"].decode(),
                    "sha256": hashlib.sha256(read[ending]).hexdigest(),
                }
            )
    (OUT / "expected.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
