"""Fixtures for every loss in float64: see README.md. The losses are in `losses/`."""

import itertools

import fixtures
from losses import inputs, margin, pair, pair_inputs

SHORT = {"scale": "s", "margin": "m", "label_smoothing": "smoothing", "lambda_base": "base",
         "lambda_gamma": "gamma", "lambda_power": "power", "lambda_min": "min",
         "iteration": "it", "t_alpha": "alpha", "subcenters": "k", "temperature": "t",
         "m1": "m1_", "m2": "m2_", "m3": "m3_"}


def case_name(case):
    parts = [case["kind"], case["input"]]
    for key, value in (case["config"] | case.get("state", {})).items():
        if isinstance(value, bool):
            parts += [key.split("_")[0]] * value
        elif isinstance(value, str):
            parts.append(value)
        elif isinstance(value, dict):
            parts += value
        else:
            parts.append(f"{SHORT.get(key, key)}{value:g}")
    return "_".join(parts + ["eval"] * (not case.get("train", True)))


def main():
    fixtures.setup()
    fed = inputs.margin_inputs() | pair_inputs.pair_inputs()
    cases, expected = [], {}
    for case, values in itertools.chain(margin.run(fed), pair.run(fed)):
        name = case_name(case)
        assert all(known["name"] != name for known in cases), name
        assert all(value.isfinite().all() for value in values.values()), name
        record = {"name": name, "kind": case["kind"], "config": case["config"],
                  "input": case["input"], "train": case.get("train", True)}
        if "state" in case:
            record["state"] = case["state"]
        cases.append(record | {"reference": case["reference"], "expected": list(values)})
        expected |= {f"{name}.{key}": value for key, value in values.items()}
    fixtures.save_json("loss", "cases.json", cases)
    fixtures.save_tensors("loss", "inputs.safetensors",
                          {f"{s}.{k}": v for s, x in fed.items() for k, v in x.items()})
    fixtures.save_tensors("loss", "expected.safetensors", expected)


if __name__ == "__main__":
    main()
