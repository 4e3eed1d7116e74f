"""Reads a run's event files with the tensorboard package and compares them with its CSV files.

    python tools/parity/record/check_tensorboard.py RUN_DIR

Every scalar must be there once, at its step, with the value of steps.csv, epochs.csv or eval.csv in
float32, also in a run that was stopped or killed and continued. Prints what was compared; exits with 1
and the difference otherwise. Versions: tools/parity/requirements.txt.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def wanted(run):
    """tag -> [(step, value)] as the CSV files have it."""
    want = {}

    def add(tag, step, text):
        if text != "":
            want.setdefault(tag, []).append((step, np.float32(text)))

    ends = {}
    for row in rows(run / "steps.csv"):
        step = int(row.pop("step"))
        ends[int(row.pop("epoch"))] = step
        for name, text in row.items():
            add(f"train/{name}", step, text)
    for row in rows(run / "epochs.csv"):
        for name, text in row.items():
            add(f"epoch/{name}", ends[int(row["epoch"])], text)
    last = max(ends.values())
    for row in rows(run / "eval.csv"):
        latest = row["checkpoint"] in ("latest", "untrained")
        part = "" if latest else row["checkpoint"] + "/"
        step = ends.get(int(row["epoch"]), 0) if latest else last
        add(f"eval/{row['set']}/{part}{row['metric']}", step, row["value"])
    return want


def main():
    run = Path(sys.argv[1])
    folder = str(run / "tensorboard")
    everything = {"scalars": 0, "tensors": 0}
    accumulator = EventAccumulator(folder, size_guidance=everything).Reload()
    want = wanted(run)
    found = set(accumulator.Tags()["scalars"])
    assert found == set(want), f"tags {sorted(found ^ set(want))}"
    values = 0
    for tag, expected in want.items():
        got = [(event.step, np.float32(event.value)) for event in accumulator.Scalars(tag)]
        steps = [step for step, _ in got]
        assert steps == [step for step, _ in expected], f"{tag}: steps {steps}"
        for (step, a), (_, b) in zip(got, expected):
            assert a == b or (np.isnan(a) and np.isnan(b)), f"{tag}, step {step}: {a} is not {b}"
        values += len(got)
    # What the pages are made from: scalars and the text, by their plugins.
    pages = EventMultiplexer(tensor_size_guidance={"scalars": 0, "text": 0})
    pages.AddRun(folder, "run").Reload()
    scalars = pages.PluginRunToTagToContent("scalars")["run"]
    assert set(scalars) == set(want), "the page of scalars has other tags"
    for tag, expected in want.items():
        steps = [event.step for event in pages.Tensors("run", tag)]
        assert steps == [step for step, _ in expected], f"page, {tag}: steps {steps}"
    text = pages.Tensors("run", "config/text_summary")[-1].tensor_proto.string_val[0].decode()
    config = (run / "config.toml").read_text()
    assert text == f"```toml\n{config}\n```", "the configuration differs"
    files = len(list((run / "tensorboard").iterdir()))
    print(f"{values} scalars of {len(want)} tags in {files} files agree")


if __name__ == "__main__":
    main()
