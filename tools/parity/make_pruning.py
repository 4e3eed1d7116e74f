"""Decisions of published pruning rules on seeded curves: writes tests/fixtures/pruning/decisions.json.

The packages are in requirements-pruning.txt, for a virtual environment of its own.

Each case is a log of what happened in order: [trial, epoch, score, goes_on] of a report. In
`promotion` everyone stops at a rung, and [trial, -1, 0, 1] is a promotion, trial -1 that nobody was
promoted. Scores are better when larger.
"""

import json
import math
import pathlib
import random

import optuna
from ray.tune.schedulers import MedianStoppingRule, TrialScheduler
from syne_tune.optimizer.schedulers.hyperband_promotion import PromotionRungSystem

OUT = pathlib.Path(__file__).parents[2] / "tests" / "fixtures" / "pruning"


def curve(rng, epochs):
    """Rises towards a limit, with noise; digits enough that no two are equal."""
    limit, speed = rng.random(), 0.3 + rng.random()
    noise = lambda: 0.1 * (rng.random() - 0.5)
    return [round(limit * (1 - math.exp(-speed * e)) + noise(), 9) for e in range(1, epochs + 1)]


def interleaved(rng, curves, slots, decide, finish, every=1):
    """Runs the trials in a random order of events, `slots` at a time."""
    log, waiting, running = [], list(range(len(curves))), {}
    while waiting or running:
        while waiting and len(running) < slots:
            running[waiting.pop(0)] = 0
        trial = rng.choice(sorted(running))
        running[trial] += every
        epoch = running[trial]
        score = curves[trial][epoch - 1]
        last = epoch + every > len(curves[trial])
        goes_on = decide(trial, epoch, score)
        log.append([trial, epoch, score, int(goes_on)])
        if last or not goes_on:
            finish(trial, goes_on)
            del running[trial]
    return log


def optuna_run(rng, pruner, curves, slots, every=1):
    study = optuna.create_study(direction="maximize", pruner=pruner)
    trials = {}

    def decide(trial, epoch, score):
        if trial not in trials:
            trials[trial] = study.ask()
        trials[trial].report(score, epoch)
        return not trials[trial].should_prune()

    def finish(trial, completed):
        state = optuna.trial.TrialState.COMPLETE if completed else optuna.trial.TrialState.PRUNED
        study.tell(trials[trial], values=1.0 if completed else None, state=state)

    return interleaved(rng, curves, slots, decide, finish, every)


def halving(seed, trials, epochs, slots, least, reduction):
    rng = random.Random(seed)
    curves = [curve(rng, epochs) for _ in range(trials)]
    pruner = optuna.pruners.SuccessiveHalvingPruner(least, reduction, 0)
    return {
        "min_epochs": least, "reduction": reduction, "epochs": epochs, "trials": trials,
        "log": optuna_run(rng, pruner, curves, slots),
    }


def constant(seed, trials, epochs, warm_up, least, interval, every):
    """Equal values over the epochs: there the running average is the score itself. One slot: whoever
    was not stopped has completed."""
    rng = random.Random(seed)
    curves = [[round(rng.random(), 9)] * epochs for _ in range(trials)]
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=least, n_warmup_steps=warm_up + 1, interval_steps=interval, n_min_trials=least
    )
    return {
        "warm_up_epochs": warm_up, "min_trials": least, "every_epochs": interval, "epochs": epochs,
        "trials": trials, "log": optuna_run(rng, pruner, curves, 1, every),
    }


class Named(str):
    """What Ray Tune asks of a trial is a name."""

    trial_id = property(str)


class Controller:
    """And of what runs the trials, who is paused: nobody."""

    def get_live_trials(self):
        return []


def median(seed, trials, epochs, slots, least):
    rng = random.Random(seed)
    curves = [curve(rng, epochs) for _ in range(trials)]
    rule = MedianStoppingRule(
        time_attr="epoch", metric="score", mode="max", grace_period=1,
        min_samples_required=least, min_time_slice=10**9, hard_stop=True,
    )

    def decide(trial, epoch, score):
        action = rule.on_trial_result(Controller(), Named(trial), {"epoch": epoch, "score": score})
        return action == TrialScheduler.CONTINUE

    return {
        "warm_up_epochs": 0, "min_trials": least, "every_epochs": 1, "epochs": epochs, "trials": trials,
        "log": interleaved(rng, curves, slots, decide, lambda *_: None),
    }


def promotion(seed, trials, epochs, slots, reduction):
    """Every event ends with a free slot: a promotion, else a fresh trial."""
    rng = random.Random(seed)
    curves = [curve(rng, epochs) for _ in range(trials)]
    levels = [reduction**k for k in range(20) if reduction**k < epochs]
    shares = [1 / reduction] * len(levels)
    system = PromotionRungSystem(levels, shares, "score", "max", "epoch", epochs)
    log, waiting, running = [], list(range(trials)), {}
    while True:
        while len(running) < slots:
            found = system.on_task_schedule(new_trial_id="")
            log.append([int(found.get("trial_id", -1)), -1, 0, 1])
            if found:
                running[int(found["trial_id"])] = found["resume_from"]
                system.on_task_add(found["trial_id"], 0, new_config=False, **found_rest(found))
            elif waiting:
                trial = waiting.pop(0)
                running[trial] = 0
                system.on_task_add(str(trial), 0)
            else:
                break
        if not running:
            break
        trial = rng.choice(sorted(running))
        running[trial] += 1
        epoch = running[trial]
        score = curves[trial][epoch - 1]
        told = system.on_task_report(str(trial), {"epoch": epoch, "score": score}, 0)
        goes_on = told["task_continues"]
        log.append([trial, epoch, score, int(goes_on)])
        if not goes_on:
            system.on_task_remove(str(trial))
            del running[trial]
    return {"min_epochs": 1, "reduction": reduction, "epochs": epochs, "trials": trials, "log": log}


def found_rest(found):
    return {key: found[key] for key in ("milestone", "resume_from")}


def main():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cases = {
        "halving": [halving(1, 40, 12, 4, 1, 3), halving(2, 30, 12, 1, 2, 2), halving(3, 40, 17, 30, 1, 4)],
        "constant": [constant(4, 16, 9, 1, 3, 1, 1), constant(5, 16, 13, 2, 4, 3, 1), constant(6, 24, 12, 2, 2, 4, 3)],
        "median": [median(7, 16, 6, 4, 3), median(8, 16, 6, 1, 5), median(9, 20, 5, 20, 2)],
        "promotion": [promotion(10, 90, 8, 4, 2), promotion(11, 90, 9, 1, 3)],
    }
    OUT.mkdir(parents=True, exist_ok=True)
    lists = lambda log: "[" + ",".join(json.dumps(entry, separators=(",", ":")) for entry in log) + "]"
    text = []
    for name, of in cases.items():
        rows = []
        for case in of:
            head = json.dumps({k: v for k, v in case.items() if k != "log"})[:-1]
            rows.append(f'{head}, "log": {lists(case["log"])}}}')
        text.append(f'"{name}": [\n' + ",\n".join(rows) + "\n]")
    (OUT / "decisions.json").write_text("{" + ",\n".join(text) + "}\n")


if __name__ == "__main__":
    main()
