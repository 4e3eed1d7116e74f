"""Importance of sweep parameters: writes tests/fixtures/report/importance.json.

scipy's spearmanr for numeric parameters; for the others the correlation ratio, from the F of
scipy's one-way analysis of variance over scipy's ranks: eta^2 = F (k - 1) / (F (k - 1) + n - k).
"""

import json
import math
import pathlib

from scipy import stats

FIXTURES = pathlib.Path(__file__).parents[2] / "tests" / "fixtures" / "report"


def formula(n, a, b):
    return [math.sin(a * (i + 1)) * 10 + b * i for i in range(n)]


def numeric(name, parameter, metric):
    rho = stats.spearmanr(parameter, metric).statistic
    return {"name": name, "numeric": parameter, "metric": metric, "expected": float(rho)}


def categorical(name, parameter, metric):
    ranks = stats.rankdata(metric)
    groups = [[r for r, p in zip(ranks, parameter) if p == value] for value in sorted(set(parameter))]
    f = stats.f_oneway(*groups).statistic
    k, n = len(groups), len(metric)
    eta = math.sqrt(f * (k - 1) / (f * (k - 1) + n - k))
    return {"name": name, "categorical": parameter, "metric": metric, "expected": eta}


def main():
    metric = formula(24, 1.7, 0.3)
    tied = [round(v / 4) for v in metric]
    rates = [10.0 ** -(1 + i % 4) for i in range(24)]
    losses = [["arcface", "cosface", "adaface"][(i * 7) % 3] for i in range(24)]
    outlier = metric[:-1] + [1e30]
    cases = [
        numeric("plain", formula(24, 0.9, -0.2), metric),
        numeric("ties in the parameter", rates, metric),
        numeric("ties in both", rates, [float(v) for v in tied]),
        numeric("an outlier", rates, outlier),
        numeric("three trials", [0.1, 0.3, 0.2], [0.5, 0.25, 0.75]),
        numeric("sixty trials", formula(60, 2.3, 0.1), formula(60, 0.7, 0.1)),
        categorical("three losses", losses, metric),
        categorical("uneven groups", ["a"] * 20 + ["b"] * 3 + ["c"], metric),
        categorical("ties in the metric", losses, [float(v) for v in tied]),
        categorical("an outlier among losses", losses, outlier),
    ]
    FIXTURES.mkdir(parents=True, exist_ok=True)
    (FIXTURES / "importance.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
