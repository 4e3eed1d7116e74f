"""Fixtures of sweeps: points of Sobol's sequence, and how well a TPE by others does.

Writes tests/fixtures/sweep/sobol.json (scipy.stats.qmc.Sobol, not scrambled) and tpe.json
(optuna's TPESampler and RandomSampler: the median over seeds of the best value of some functions,
which are written out again in src/sweep/search/tpe/tests.rs).
"""

import json
import math
import statistics
import warnings
from pathlib import Path

import optuna
from scipy.stats import qmc

FOLDER = Path(__file__).parents[2] / "tests" / "fixtures" / "sweep"
SEEDS = 25
TRIALS = 60
STARTUP = 10


def sobol():
    cases = []
    for dimensions, count in [(1, 8), (2, 16), (5, 33), (21, 9)]:
        points = qmc.Sobol(dimensions, scramble=False).random(count)
        cases.append({"dimensions": dimensions, "points": points.tolist()})
    return {"cases": cases}


def quadratic(trial):
    x = trial.suggest_float("x", -5.0, 5.0)
    y = trial.suggest_float("y", -5.0, 5.0)
    return (x - 1.0) ** 2 + (y + 2.0) ** 2


def mixed(trial):
    rate = trial.suggest_float("rate", 1e-5, 1.0, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    width = trial.suggest_int("width", 16, 512, step=16)
    offset = {"a": 0.5, "b": 0.0, "c": 1.0}[kind]
    return (math.log10(rate) + 2.5) ** 2 + offset + ((width - 256) / 256) ** 2


def conditional(trial):
    kind = trial.suggest_categorical("kind", ["a", "b"])
    if kind == "a":
        margin = trial.suggest_float("margin", 0.0, 1.0)
        return 10 * (margin - 0.7) ** 2
    return 0.3 + abs(trial.suggest_int("depth", 1, 64, log=True) - 20) / 64


def tpe():
    functions = {}
    for function in [quadratic, mixed, conditional]:
        best = {"tpe": [], "random": []}
        for seed in range(SEEDS):
            samplers = {
                "tpe": optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP),
                "random": optuna.samplers.RandomSampler(seed=seed),
            }
            for name, sampler in samplers.items():
                study = optuna.create_study(sampler=sampler)
                study.optimize(function, n_trials=TRIALS)
                best[name].append(study.best_value)
        functions[function.__name__] = {
            name: float(f"{statistics.median(values):.6g}") for name, values in best.items()
        }
    return {"seeds": SEEDS, "trials": TRIALS, "startup": STARTUP, "median_best": functions}


def main():
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in [("sobol", sobol()), ("tpe", tpe())]:
        (FOLDER / f"{name}.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
