"""Fixture for src/record/tfevents.rs: four events as the tensorboard package serialises and frames them.

    python tools/parity/record/events.py tests/fixtures/record

Versions: tools/parity/requirements.txt.
"""

import sys
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter


def events():
    yield Event(wall_time=1.5, file_version="brain.Event:2")
    loss = Summary.Value(tag="train/loss", simple_value=0.25)
    yield Event(wall_time=2.0, step=7, summary=Summary(value=[loss]))
    yield Event(wall_time=3.0, step=8, session_log=SessionLog(status=SessionLog.START))
    text = Summary.Value(
        tag="config/text_summary",
        tensor=TensorProto(
            dtype=DT_STRING,
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
            string_val=[b"a"],
        ),
    )
    text.metadata.plugin_data.plugin_name = "text"
    yield Event(wall_time=4.0, step=8, summary=Summary(value=[text]))


def main():
    path = Path(sys.argv[1]) / "events.out.tfevents.bin"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in events():
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()


if __name__ == "__main__":
    main()
