"""Logs one small run with the official client, for tests/wandb_official_client.rs.

Usage: log_with_wandb.py PROJECT RUN_ID [--steps N] [--fail CODE]

Where it goes is the client's own environment: WANDB_BASE_URL, WANDB_API_KEY, WANDB_DIR,
WANDB_MODE (online or offline), WANDB_RESUME. A resumed run goes on at its own step.
"""

import argparse
import math
import sys

import numpy
import wandb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("run_id")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--fail", type=int, default=0, help="exit code")
    options = parser.parse_args()

    run = wandb.init(
        project=options.project,
        id=options.run_id,
        name="a name",
        notes="some notes",
        tags=["face", "arcface"],
        group="seeds",
        job_type="train",
        config={"lr": 0.01, "model": {"depth": 3, "widths": [8, 16]}, "none": None},
    )
    start = run.step
    run.define_metric("epoch")
    run.define_metric("validation/*", step_metric="epoch")
    for step in range(start, start + options.steps):
        run.log({"loss": 1.0 / (1 + step), "epoch": step // 10})
        if step % 10 == 0:
            print(f"step {step}")
    square = numpy.arange(12 * 8 * 3, dtype=numpy.uint8).reshape(8, 12, 3)
    run.log(
        {
            "weights": wandb.Histogram(np_histogram=([1, 2, 3], [0.0, 0.5, 1.0, 1.5])),
            "faces": wandb.Image(square, caption="two faces"),
            "nan": math.nan,
            "most": math.inf,
            "least": -math.inf,
        }
    )
    run.summary["best"] = 0.125
    run.config.update({"late": "added"})
    run.finish(exit_code=options.fail)
    sys.exit(options.fail)


if __name__ == "__main__":
    main()
