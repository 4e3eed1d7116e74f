"""Prints every record of a .wandb file as one line of JSON, with the official client's reader.

Usage: read_wandb.py FILE.wandb

Needs wandb==0.31.0 in an environment of its own. For looking at files that arcrun writes.
"""

import json
import sys

from google.protobuf import json_format
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    store = DataStore()
    store.open_for_scan(sys.argv[1])
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        fields = json_format.MessageToDict(record, preserving_proto_field_name=True)
        print(json.dumps(fields))


if __name__ == "__main__":
    main()
