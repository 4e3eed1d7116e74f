"""Cases of the losses between embeddings, and of `sum`; holds the loops against the libraries."""

from . import margin_library, pair_library, pair_loops
from .margin import run_loops, same

EMPTY = ("distinct", "repeated", "single")
DISTANCES = ("squared", "euclidean")
LEAVES = ("embedding", "image", "text", "logit_scale", "logit_bias")


def triplet(selection, distance="squared", mean="selected", margin=0.2):
    return {"margin": margin, "distance": distance, "selection": selection, "mean": mean}


def triplet_cases():
    for distance in DISTANCES:
        for mean in ("selected", "nonzero"):
            for source in ("pk", "uneven"):
                for selection in ("all", "hard", "vgg", "semi_hard_hardest"):
                    yield source, triplet(selection, distance, mean)
            yield "one_candidate", triplet("semi_hard_random", distance, mean)
        for source in ("pk", "uneven"):
            yield source, triplet("semi_hard_hardest", distance, "positive_pairs")
        yield "one_candidate", triplet("semi_hard_random", distance, "positive_pairs")
        for source in ("tiny", "huge"):
            for selection in ("all", "hard", "vgg", "semi_hard_hardest"):
                yield source, triplet(selection, distance)
    yield "pk", triplet("all", "euclidean", "nonzero", 0.05)
    yield "pk", triplet("hard", margin=0.5)
    for selection in ("all", "hard", "vgg", "semi_hard_hardest", "semi_hard_random"):
        for source in EMPTY + ("separate",):
            yield source, triplet(selection)
    for mean in ("nonzero", "positive_pairs"):
        yield "distinct", triplet("semi_hard_hardest", "euclidean", mean)
    yield "duplicates", triplet("all")


def cases():
    for source, config in triplet_cases():
        yield {"input": source, "kind": "triplet", "config": config}
    for selection in ("all", "hard"):
        yield {"input": "duplicates", "kind": "triplet",
               "config": triplet(selection, "euclidean"), "reference": "finite"}
    for source in ("pk", "uneven", "one_candidate", "tiny", "huge") + EMPTY:
        yield {"input": source, "kind": "supcon", "config": {"temperature": 0.1}}
    for temperature in (0.07, 0.5):
        yield {"input": "pk", "kind": "supcon", "config": {"temperature": temperature}}
    for kind, variants in (("clip", ("", "_hot", "_norms", "_single")),
                           ("siglip", ("", "_moved", "_norms", "_single"))):
        for variant in variants:
            yield {"input": kind + variant, "kind": kind, "config": {}}


def gradients(loss, leaves):
    loss.backward()
    return {"loss": loss.detach()} | {f"grad_{name}": leaf.grad for name, leaf in leaves.items()}


def leaves_of(inputs, kind):
    names = LEAVES[1:] if kind in ("clip", "siglip") else LEAVES[:1]
    return {name: inputs[name].clone().requires_grad_() for name in names if name in inputs}


def run_case(inputs, case):
    kind, config = case["kind"], case["config"]
    labels = {"labels": inputs["labels"]} if "labels" in inputs else {}
    leaves = leaves_of(inputs, kind)
    if kind == "triplet":
        out = pair_loops.triplet(leaves | labels, config, case["input"] != "duplicates")
    else:
        out = getattr(pair_loops, kind)(leaves | labels, config)
    out |= gradients(out["loss"], leaves)
    if case.get("reference") == "finite":
        return case, {"loss": out["loss"], "active": out["active"]}
    empty = kind == "triplet" and case["input"] in EMPTY
    assert not empty or out["loss"] == 0
    again = leaves_of(inputs, kind)
    found = None if empty else pair_library.library(again | labels, kind, config)
    if found is None:
        return case | {"reference": "loops"}, out
    name, loss = found
    values = gradients(loss, again)
    same(out, values, inputs)
    return case | {"reference": name}, out | values


def run_sum(inputs):
    """arcface and triplet on one embedding; a part's own loss is `part.{name}`."""
    parts = {"arcface": {"weight": 1.0, "kind": "arcface", "scale": 64.0, "margin": 0.5,
                         "boundary": "line", "easy_margin": False, "gradient": "exact"},
             "triplet": {"weight": 0.5, "kind": "triplet"} | triplet("all", mean="nonzero")}
    keys = {name: {k: v for k, v in part.items() if k not in ("weight", "kind")}
            for name, part in parts.items()}
    margin = run_loops(inputs, "arcface", keys["arcface"])
    same(margin, margin_library.library(inputs, "arcface", keys["arcface"])[1], inputs)
    _, pair = run_case(inputs, {"input": "pk", "kind": "triplet", "config": keys["triplet"]})
    weights = [part["weight"] for part in parts.values()]
    out = {key: weights[0] * margin[key] + weights[1] * pair[key]
           for key in ("loss", "grad_embedding")}
    out |= {"grad_arcface.weight": weights[0] * margin["grad_weight"],
            "part.arcface": margin["loss"], "part.triplet": pair["loss"]}
    case = {"input": "pk", "kind": "sum", "config": {"parts": parts}}
    return case | {"reference": "pytorch-metric-learning"}, out


def run(inputs):
    """Yields (case, values) for every case."""
    for case in cases():
        yield run_case(inputs[case["input"]], case)
    yield run_sum(inputs["pk"])
