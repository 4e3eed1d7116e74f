"""Prints every record of a .wandb file as one line of JSON; for looking at files that arcrun writes.

Usage: read_wandb.py FILE.wandb

Needs wandb==0.31.0 in an environment of its own, for the official messages. The client has no
reader in Python any more, so the framing is read here, and strictly: a wrong checksum, a torn
chunk or a chunk out of order ends the program with exit code 1, after the records before it.
"""

import json
import struct
import sys
import zlib

from google.protobuf import json_format
from wandb.proto import wandb_internal_pb2

BLOCK = 32768
MAGIC = b":W&B\xe1\xbe\x00"
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def payloads(data: bytes):
    """Yields the payload of each record, joined from its chunks."""
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"the file starts with {data[:7]!r}")
    at = len(MAGIC)
    parts = None
    while at < len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            if any(data[at : at + left]):
                raise ValueError(f"padding at {at} is not zero")
            at += left
            continue
        if at + 7 > len(data):
            raise ValueError(f"torn chunk header at {at}")
        crc, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + 7 : at + 7 + length]
        if 7 + length > left:
            raise ValueError(f"chunk at {at} crosses the block")
        if len(body) < length:
            raise ValueError(f"torn chunk at {at}")
        if zlib.crc32(data[at + 6 : at + 7] + body) != crc:
            raise ValueError(f"wrong checksum at {at}")
        if kind not in (FULL, FIRST, MIDDLE, LAST):
            raise ValueError(f"chunk of kind {kind} at {at}")
        if (kind in (FULL, FIRST)) != (parts is None):
            raise ValueError(f"chunk of kind {kind} out of order at {at}")
        at += 7 + length
        parts = [*(parts or []), body]
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = None
    if parts is not None:
        raise ValueError("the last record is torn")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        data = file.read()
    try:
        for payload in payloads(data):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(payload)
            fields = json_format.MessageToDict(record, preserving_proto_field_name=True)
            print(json.dumps(fields))
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
