"""Fixtures for sgd, adam and adamw: torch.optim, single-tensor kernels, float64: see README.md."""

import torch

import fill
import fixtures

STEPS, RECORDED = 50, (1, 2, 10, 50)
SHAPES = {"conv": (2, 3, 2), "linear": (4, 3), "bias": (5,)}
GRADIENT_SCALE = {"conv": 1.0, "linear": 1e-4, "bias": 30.0}
CLASSES = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def initial_and_gradients():
    """Prescribed gradients [STEPS, ...]; the first element of each tensor never gets one, the
    second only from step 11 on: eps and a zero second moment matter there."""
    tensors = {}
    for name, shape in SHAPES.items():
        tensors[f"initial.{name}"] = torch.from_numpy(fill.symmetric(f"optimizer.initial.{name}", shape))
        gradient = torch.from_numpy(fill.symmetric(f"optimizer.gradient.{name}", (STEPS, *shape)))
        flat = gradient.view(STEPS, -1)
        flat[:, 0] = 0.0
        flat[:10, 1] = 0.0
        tensors[f"gradient.{name}"] = gradient * GRADIENT_SCALE[name]
    return tensors


def group(params, **keys):
    return {"params": params, **keys}


def all_cases():
    """(name, kind, keys of torch.optim, groups, learning rate scale per step)

    A group's `lr_scale` multiplies the learning rate, its `weight_decay` replaces the case's."""
    one = [group(["conv", "linear", "bias"])]
    split = [group(["conv", "linear"]), group(["bias"], weight_decay=0.0)]
    slow = [group(["conv"], lr_scale=0.1), group(["linear"]), group(["bias"], weight_decay=0.0, lr_scale=2.0)]
    constant = [1.0] * STEPS
    drop = [1.0] * 20 + [0.1] * 15 + [0.02] * 15
    warm = [(step + 1) / 10 if step < 10 else 1.0 for step in range(STEPS)]

    sgd = {"lr": 0.1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}
    yield "sgd_plain", "sgd", sgd, one, constant
    yield "sgd_weight_decay", "sgd", {**sgd, "weight_decay": 0.01}, split, constant
    yield "sgd_momentum", "sgd", {**sgd, "momentum": 0.9}, one, constant
    yield "sgd_momentum_weight_decay", "sgd", {**sgd, "momentum": 0.9, "weight_decay": 5e-4}, split, drop
    yield "sgd_dampening", "sgd", {**sgd, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}, one, constant
    yield "sgd_nesterov", "sgd", {**sgd, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}, slow, warm
    yield "sgd_maximize", "sgd", {**sgd, "momentum": 0.5, "weight_decay": 0.01, "maximize": True}, one, constant

    adam = {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False, "maximize": False}
    for kind, decay in (("adam", 0.0), ("adamw", 0.01)):
        base = {**adam, "weight_decay": decay}
        yield f"{kind}_default", kind, base, one, constant
        yield f"{kind}_amsgrad", kind, {**base, "amsgrad": True, "lr": 0.05}, one, drop
        yield f"{kind}_weight_decay", kind, {**base, "weight_decay": 0.1, "lr": 0.02}, split, drop
        yield f"{kind}_groups", kind, {**base, "weight_decay": 0.05, "lr": 0.01}, slow, warm
        yield f"{kind}_betas_eps", kind, {**base, "betas": [0.5, 0.9], "eps": 1e-3, "lr": 0.1}, one, constant
        yield f"{kind}_maximize", kind, {**base, "weight_decay": 0.1, "maximize": True}, one, constant


def run(kind, keys, groups, lr_scale, tensors):
    params = {name: tensors[f"initial.{name}"].clone().requires_grad_() for name in SHAPES}
    torch_groups = []
    for entry in groups:
        keep = {k: v for k, v in entry.items() if k not in ("params", "lr_scale")}
        torch_groups.append({"params": [params[name] for name in entry["params"]], **keep})
    betas = {"betas": tuple(keys["betas"])} if "betas" in keys else {}
    optimizer = CLASSES[kind](torch_groups, **{**keys, **betas}, foreach=False, fused=False)
    out = {}
    for step in range(STEPS):
        for torch_group, entry in zip(optimizer.param_groups, groups):
            torch_group["lr"] = keys["lr"] * lr_scale[step] * entry.get("lr_scale", 1.0)
        for name, param in params.items():
            param.grad = tensors[f"gradient.{name}"][step].clone()
        optimizer.step()
        if step + 1 in RECORDED:
            out |= {f"step{step + 1}.{name}": p.detach().clone() for name, p in params.items()}
    for name, param in params.items():
        for key, value in optimizer.state[param].items():
            if value is not None:
                out[f"state.{name}.{key}"] = value.to(torch.float64)
    return out


def main():
    fixtures.setup()
    tensors = initial_and_gradients()
    cases, expected = [], {}
    for name, kind, keys, groups, lr_scale in all_cases():
        out = run(kind, keys, groups, lr_scale, tensors)
        state = sorted({key.rsplit(".", 1)[-1] for key in out if key.startswith("state.")})
        cases.append({"name": name, "kind": kind, "config": keys, "groups": groups,
                      "lr_scale_per_step": lr_scale, "recorded": list(RECORDED), "state": state})
        expected |= {f"{name}.{key}": value for key, value in out.items()}
    fixtures.save_json("optimizer", "cases.json", cases)
    fixtures.save_tensors("optimizer", "inputs.safetensors", tensors)
    fixtures.save_tensors("optimizer", "expected.safetensors", expected)


if __name__ == "__main__":
    main()
