"""Fixtures for learning-rate schedules: torch.optim.lr_scheduler: see README.md."""

import math

import torch
from torch.optim import lr_scheduler as lrs

import fixtures

BASE = 0.1


def optimizer(lr=BASE):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


TORCH = {
    "exponential": lrs.ExponentialLR,
    "linear": lrs.LinearLR,
    "polynomial": lrs.PolynomialLR,
    "cosine_restarts": lrs.CosineAnnealingWarmRestarts,
}


def build(kind, keys, opt):
    if kind in TORCH:
        return TORCH[kind](opt, **keys)
    if kind == "one_cycle":
        return lrs.OneCycleLR(opt, max_lr=BASE, cycle_momentum=False, **keys)
    if kind == "constant":
        return lrs.LambdaLR(opt, lambda _: 1.0)
    if kind == "step":
        return lrs.StepLR(opt, **keys)
    if kind == "multi_step":
        return lrs.MultiStepLR(opt, **keys)
    if kind == "cosine":
        return lrs.CosineAnnealingLR(opt, **keys)
    return lrs.ReduceLROnPlateau(opt, **keys)


def with_warm_up(kind, keys, warm_up, opt):
    steps = warm_up["total_iters"]
    ramp = lrs.LinearLR(opt, **warm_up)
    return lrs.SequentialLR(opt, [ramp, build(kind, keys, opt)], milestones=[steps])


def sequence(opt, scheduler, metrics):
    """Element t is the rate after t calls of scheduler.step; element 0 holds before the first."""
    rates = [opt.param_groups[0]["lr"]]
    for metric in metrics:
        opt.step()
        scheduler.step(*([] if metric is None else [metric]))
        rates.append(opt.param_groups[0]["lr"])
    return rates


def plateau_cases():
    flat = [1.0] * 18
    improving = [1.0 / (t + 1) for t in range(12)]
    mixed = [1.0, 0.9, 0.95, 0.93, math.nan, 0.9, 0.8, 0.85, math.nan, math.nan, math.nan, 0.79, 0.5,
             0.5, 0.5, 0.5, 0.6, 0.4999999, 0.49994, 0.7, 0.7, 0.7, 0.1, 0.2, 0.2, 0.2, 0.2]
    # relative threshold 1e-4: 0.99995 is no improvement on 1, 0.9998 is, its exact limit is not
    near = [1.0, 0.99995, 0.9998, 0.9998 * (1 - 1e-4), 0.9997, 0.9997, 0.99969, 0.99968, 0.9, 0.9, 0.9]
    negative = [-1.0, -1.00005, -0.99995, -2.0, -2.0, -2.0, -2.0, -2.0]
    nan_first = [math.nan, math.nan, math.nan, math.nan, 1.0, 1.0, 1.0, 1.0]

    def keys(**changes):
        return {"mode": "min", "factor": 0.1, "patience": 2, "threshold": 1e-4,
                "threshold_mode": "rel", "cooldown": 0, "min_lr": 0.0, "eps": 1e-8, **changes}

    yield "flat", keys(), flat
    yield "flat_cooldown", keys(cooldown=2), flat
    yield "flat_recipe", keys(factor=0.5), flat
    yield "flat_min_lr", keys(factor=0.5, min_lr=0.03), flat
    yield "flat_eps", keys(factor=0.5, patience=0, eps=0.01), flat
    yield "flat_patience_0", keys(factor=0.5, patience=0), flat[:6]
    yield "improving", keys(), improving
    yield "mixed", keys(factor=0.5), mixed
    yield "mixed_cooldown", keys(factor=0.5, cooldown=2), mixed
    yield "near_threshold", keys(), near
    yield "near_threshold_absolute", keys(threshold=0.1, threshold_mode="abs", patience=1), near
    yield "negative", keys(), negative
    yield "nan_first", keys(), nan_first
    yield "maximum", keys(mode="max", factor=0.5), [0.5, 0.6, 0.6, 0.59, 0.6, 0.7, math.nan, 0.7, 0.7, 0.8]


def plain_cases():
    """(name, kind, keys, calls)"""
    yield "constant", "constant", {}, 8
    yield "step", "step", {"step_size": 3, "gamma": 0.1}, 12
    yield "step_every", "step", {"step_size": 1, "gamma": 0.9}, 12
    yield "multi_step", "multi_step", {"milestones": [2, 5, 9], "gamma": 0.1}, 12
    yield "multi_step_repeated", "multi_step", {"milestones": [2, 5, 5], "gamma": 0.5}, 8
    yield "multi_step_unsorted", "multi_step", {"milestones": [6, 2], "gamma": 0.1}, 8
    yield "cosine", "cosine", {"T_max": 10, "eta_min": 0.0}, 10
    yield "cosine_floor", "cosine", {"T_max": 10, "eta_min": 0.01}, 10
    yield "cosine_past_end", "cosine", {"T_max": 6, "eta_min": 0.01}, 20
    yield "cosine_long", "cosine", {"T_max": 60, "eta_min": 1e-5}, 60


def long_cases():
    """(name, kind, keys): 100 steps each, with and without warm-up."""
    yield "exponential", "exponential", {"gamma": 0.95}
    yield "exponential_rising", "exponential", {"gamma": 1.02}
    yield "linear", "linear", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 100}
    yield "linear_kept", "linear", {"start_factor": 1 / 3, "end_factor": 0.9, "total_iters": 60}
    yield "polynomial", "polynomial", {"power": 1.0, "total_iters": 100}
    yield "polynomial_square", "polynomial", {"power": 2.0, "total_iters": 100}
    yield "polynomial_root_kept", "polynomial", {"power": 0.5, "total_iters": 60}
    yield "cosine_restarts", "cosine_restarts", {"T_0": 13, "T_mult": 1, "eta_min": 0.0}
    yield "cosine_restarts_doubled", "cosine_restarts", {"T_0": 7, "T_mult": 2, "eta_min": 0.001}
    yield "cosine_restarts_tripled", "cosine_restarts", {"T_0": 1, "T_mult": 3, "eta_min": 0.0}
    one_cycle = {"total_steps": 100, "pct_start": 0.3, "anneal_strategy": "cos",
                 "div_factor": 25.0, "final_div_factor": 1e4, "three_phase": False}
    yield "one_cycle", "one_cycle", one_cycle
    yield "one_cycle_fraction", "one_cycle", {**one_cycle, "pct_start": 0.237}
    yield "one_cycle_linear", "one_cycle", {**one_cycle, "anneal_strategy": "linear", "div_factor": 10.0}
    yield "one_cycle_three", "one_cycle", {**one_cycle, "three_phase": True, "final_div_factor": 100.0}
    yield "one_cycle_three_half", "one_cycle", {**one_cycle, "three_phase": True, "pct_start": 0.5,
                                                "anneal_strategy": "linear"}
    yield "one_cycle_no_rise", "one_cycle", {**one_cycle, "pct_start": 0.0}
    yield "one_cycle_no_fall", "one_cycle", {**one_cycle, "pct_start": 1.0}


def floor_cases():
    """(keys, eta_min): the reference has no floor; the part above it is a run from BASE - eta_min."""
    yield {"power": 1.0, "total_iters": 100}, 0.02
    yield {"power": 3.0, "total_iters": 60}, 0.001


LONG = 100
LONG_WARM_UP = {"start_factor": 0.01, "end_factor": 1.0, "total_iters": 20}

WARM_UPS = [
    {"start_factor": 0.1, "end_factor": 1.0, "total_iters": 5},
    {"start_factor": 1 / 3, "end_factor": 1.0, "total_iters": 4},
    {"start_factor": 1e-6, "end_factor": 1.0, "total_iters": 1},
]


def as_json(values):
    """JSON knows no NaN: null stands for it."""
    return [None if math.isnan(v) else v for v in values]


def main():
    cases = []

    def add(name, kind, keys, rates, metrics=None, warm_up=None):
        case = {"name": name, "kind": kind, "config": keys, "base_lr": BASE, "warm_up": warm_up,
                "metrics": metrics and as_json(metrics), "lr": rates}
        cases.append(case)

    for name, kind, keys, calls in plain_cases():
        opt = optimizer()
        add(name, kind, keys, sequence(opt, build(kind, keys, opt), [None] * calls))
        if name in ("constant", "step", "multi_step", "cosine", "cosine_floor"):
            for warm_up in WARM_UPS:
                opt = optimizer()
                scheduler = with_warm_up(kind, keys, warm_up, opt)
                rates = sequence(opt, scheduler, [None] * (calls + warm_up["total_iters"]))
                add(f"{name}_warm_up_{warm_up['total_iters']}", kind, keys, rates, warm_up=warm_up)
    for name, kind, keys in long_cases():
        opt = optimizer()
        add(name, kind, keys, sequence(opt, build(kind, keys, opt), [None] * (LONG - 1)))
        opt = optimizer()
        scheduler = with_warm_up(kind, keys, LONG_WARM_UP, opt)
        rates = sequence(opt, scheduler, [None] * (LONG - 1 + LONG_WARM_UP["total_iters"]))
        add(f"{name}_warm_up", kind, keys, rates, warm_up=LONG_WARM_UP)
    for keys, floor in floor_cases():
        opt = optimizer(BASE - floor)
        rates = sequence(opt, build("polynomial", keys, opt), [None] * (LONG - 1))
        rates = [floor + rate for rate in rates]
        add(f"polynomial_floor_{floor}", "polynomial", {**keys, "eta_min": floor}, rates)
    for name, keys, metrics in plateau_cases():
        opt = optimizer()
        rates = sequence(opt, build("reduce_on_plateau", keys, opt), metrics)
        add(f"plateau_{name}", "reduce_on_plateau", keys, rates, metrics)
    fixtures.save_json("scheduler", "cases.json", cases)


if __name__ == "__main__":
    main()
