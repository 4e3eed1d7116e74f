"""Fixtures for the optimizers, float64: torch.optim with single-tensor kernels, timm, clipping: see README.md."""

import timm
import timm.optim
import torch

import fill
import fixtures

STEPS, RECORDED = 50, (1, 2, 10, 50)
SHAPES = {"conv": (2, 3, 2), "linear": (4, 3), "bias": (5,)}
GRADIENT_SCALE = {"conv": 1.0, "linear": 1e-4, "bias": 30.0}
CLASSES = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
           "rmsprop": torch.optim.RMSprop, "adagrad": torch.optim.Adagrad,
           "lion": timm.optim.Lion, "lars": timm.optim.Lars, "lamb": timm.optim.Lamb}
SINGLE_TENSOR = {"foreach": False, "fused": False}
TIMM = {"lion", "lars", "lamb"}


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

    # Two groups of different rate and decay.
    two = [group(["conv", "bias"]), group(["linear"], weight_decay=0.02, lr_scale=0.3)]
    rms = {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False, "weight_decay": 0.0}
    yield "rmsprop_default", "rmsprop", rms, one, constant
    yield "rmsprop_groups", "rmsprop", {**rms, "weight_decay": 0.1}, two, warm
    yield "rmsprop_centered", "rmsprop", {**rms, "centered": True, "alpha": 0.9, "weight_decay": 0.05}, two, drop
    yield "rmsprop_momentum", "rmsprop", {**rms, "momentum": 0.9, "eps": 1e-3, "weight_decay": 0.05}, two, drop
    yield "rmsprop_all", "rmsprop", {**rms, "momentum": 0.5, "centered": True, "weight_decay": 0.1}, slow, warm

    ada = {"lr": 0.01, "lr_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10, "weight_decay": 0.0}
    yield "adagrad_default", "adagrad", ada, one, constant
    yield "adagrad_lr_decay", "adagrad", {**ada, "lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.05}, two, warm
    yield "adagrad_initial", "adagrad", {**ada, "initial_accumulator_value": 0.3, "eps": 1e-3, "weight_decay": 0.1}, slow, drop

    lion = {"lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.0}
    yield "lion_default", "lion", lion, one, constant
    yield "lion_groups", "lion", {**lion, "weight_decay": 0.5, "betas": [0.95, 0.98]}, two, warm
    yield "lion_no_decay", "lion", {**lion, "weight_decay": 1.0, "lr": 0.01}, slow, drop

    lars = {"lr": 1.0, "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4, "trust_coeff": 0.001,
            "eps": 1e-8, "trust_clip": False, "always_adapt": False}
    yield "lars_default", "lars", lars, one, constant
    yield "lars_plain", "lars", {**lars, "momentum": 0.0, "trust_coeff": 0.02, "weight_decay": 0.05}, two, drop
    yield "lars_nesterov", "lars", {**lars, "nesterov": True, "trust_coeff": 0.01, "weight_decay": 0.05}, slow, warm
    yield "lars_clip", "lars", {**lars, "trust_clip": True, "lr": 0.05, "trust_coeff": 0.1, "eps": 1e-3,
                                "weight_decay": 0.05}, two, warm
    yield "lars_always_adapt", "lars", {**lars, "always_adapt": True, "trust_coeff": 0.01, "weight_decay": 0.05}, slow, drop

    lamb = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-6, "weight_decay": 0.01, "max_grad_norm": 1.0,
            "trust_clip": False, "always_adapt": False}
    yield "lamb_default", "lamb", lamb, one, constant
    yield "lamb_groups", "lamb", {**lamb, "weight_decay": 0.1, "betas": [0.8, 0.95]}, two, warm
    yield "lamb_paper", "lamb", {**lamb, "max_grad_norm": 0.0, "weight_decay": 0.1}, slow, drop
    yield "lamb_clip", "lamb", {**lamb, "trust_clip": True, "max_grad_norm": 20.0, "weight_decay": 0.1}, two, drop
    yield "lamb_always_adapt", "lamb", {**lamb, "always_adapt": True, "eps": 1e-3, "weight_decay": 0.1}, slow, warm


def run(kind, keys, groups, lr_scale, tensors):
    params = {name: tensors[f"initial.{name}"].clone().requires_grad_() for name in SHAPES}
    torch_groups = []
    for entry in groups:
        keep = {k: v for k, v in entry.items() if k not in ("params", "lr_scale")}
        torch_groups.append({"params": [params[name] for name in entry["params"]], **keep})
    betas = {"betas": tuple(keys["betas"])} if "betas" in keys else {}
    single = {"foreach": False} if kind in TIMM | {"rmsprop"} else SINGLE_TENSOR
    if kind == "lamb" and keys["max_grad_norm"] == 0:
        keys = {**keys, "max_grad_norm": None}
    optimizer = CLASSES[kind](torch_groups, **{**keys, **betas}, **single)
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


def clipping():
    """Gradients of the first step after torch.nn.utils, by limits of norm and of value; 0 is none."""
    tensors, cases, expected = initial_and_gradients(), [], {}
    for norm, value in ((1.0, 0.0), (1000.0, 0.0), (0.0, 0.5), (0.0, 1e6), (10.0, 0.3)):
        params = [torch.zeros(shape, requires_grad=True) for shape in SHAPES.values()]
        for param, name in zip(params, SHAPES):
            param.grad = tensors[f"gradient.{name}"][0].clone()
        before = torch.nn.utils.get_total_norm([p.grad for p in params]).item()
        if norm:
            torch.nn.utils.clip_grad_norm_(params, norm)
        if value:
            torch.nn.utils.clip_grad_value_(params, value)
        cases.append({"norm": norm, "value": value, "before": before})
        expected |= {f"{len(cases) - 1}.{name}": p.grad for name, p in zip(SHAPES, params)}
    fixtures.save_json("optimizer", "clipping.json", cases)
    fixtures.save_tensors("optimizer", "clipping.safetensors", expected)


def layer_decay():
    """timm's groups of a ResNet-18 and a ResNet-50: {model: [name, lr scale, weight decay]}."""
    out = {}
    for name in ("resnet18", "resnet50"):
        model = timm.create_model(name, pretrained=False)
        names = {id(param): key for key, param in model.named_parameters()}
        groups = timm.optim.param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.7)
        out[name] = [[names[id(param)], g["lr_scale"], g["weight_decay"]] for g in groups for param in g["params"]]
    fixtures.save_json("optimizer", "layer_decay.json", out)


def main():
    fixtures.setup()
    clipping()
    layer_decay()
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
