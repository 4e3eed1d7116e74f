"""What torch.autocast makes of operations on the CPU: the type of each result and its values.

    python tools/parity/autocast.py

Writes tests/fixtures/autocast/. Operands are by formula (fill.py, `symmetric`, by "OP.NAME"), in the type
that a case names. `tests/amp.rs` does the same operations through arcrun's regions.
"""

import torch
import torch.nn.functional as F

from fill import symmetric
from fixtures import save_json, save_tensors

FLOAT, BF16, HALF = torch.float32, torch.bfloat16, torch.float16
NAMES = {FLOAT: "float32", BF16: "bfloat16", HALF: "float16", torch.float64: "float64"}

# Operation: the shapes of its operands a, b, c ... and what it does with them.
OPS = {
    "conv1d": ([(2, 3, 9), (4, 3, 3), (4,)], lambda a, b, c: F.conv1d(a, b, c)),
    "conv2d": ([(2, 3, 7, 7), (4, 3, 3, 3), (4,)], lambda a, b, c: F.conv2d(a, b, c, padding=1)),
    "conv_transpose2d": ([(1, 3, 4, 4), (3, 2, 3, 3)], F.conv_transpose2d),
    "linear": ([(3, 5), (4, 5), (4,)], F.linear),
    "matmul": ([(3, 5), (5, 4)], torch.matmul),
    "mm": ([(3, 5), (5, 4)], torch.mm),
    "bmm": ([(2, 3, 5), (2, 5, 4)], torch.bmm),
    "addmm": ([(3, 4), (3, 5), (5, 4)], torch.addmm),
    "baddbmm": ([(2, 3, 4), (2, 3, 5), (2, 5, 4)], torch.baddbmm),
    "attention": ([(1, 2, 6, 8)] * 3, F.scaled_dot_product_attention),
    "softmax": ([(3, 6)], lambda a: F.softmax(a, -1)),
    "log_softmax": ([(3, 6)], lambda a: F.log_softmax(a, -1)),
    "cross_entropy": ([(3, 6)], lambda a: F.cross_entropy(a, torch.tensor([1, 0, 5]))),
    "layer_norm": ([(3, 6), (6,), (6,)], lambda a, b, c: F.layer_norm(a, (6,), b, c)),
    "group_norm": ([(2, 4, 3, 3), (4,), (4,)], lambda a, b, c: F.group_norm(a, 2, b, c)),
    "batch_norm": ([(4, 3, 2, 2), (3,), (3,)],
                   lambda a, b, c: F.batch_norm(a, torch.zeros(3), torch.ones(3), b, c, training=True)),
    "sum": ([(3, 6)], lambda a: a.sum(1)),
    "mean": ([(3, 6)], lambda a: a.mean(1)),
    "prod": ([(3, 6)], lambda a: a.prod(1)),
    "cumsum": ([(3, 6)], lambda a: a.cumsum(1)),
    "norm": ([(3, 6)], lambda a: torch.norm(a, 2.0, 1)),
    "normalize": ([(3, 6)], F.normalize),
    "cosine_similarity": ([(3, 6), (3, 6)], F.cosine_similarity),
    "cdist": ([(3, 6), (4, 6)], torch.cdist),
    "interpolate": ([(1, 2, 4, 4)],
                    lambda a: F.interpolate(a, size=(7, 7), mode="bilinear", align_corners=False)),
    "avg_pool2d": ([(1, 2, 6, 6)], lambda a: F.avg_pool2d(a, 2)),
    "adaptive_avg_pool2d": ([(1, 2, 6, 6)], lambda a: F.adaptive_avg_pool2d(a, 2)),
    "max_pool2d": ([(1, 2, 6, 6)], lambda a: F.max_pool2d(a, 2)),
    "prelu": ([(2, 3, 2, 2), (3,)], F.prelu),
    "relu": ([(3, 6)], F.relu),
    "gelu": ([(3, 6)], F.gelu),
    "silu": ([(3, 6)], F.silu),
    "sigmoid": ([(3, 6)], torch.sigmoid),
    "logsigmoid": ([(3, 6)], F.logsigmoid),
    "softplus": ([(3, 6)], F.softplus),
    "pow": ([(3, 6)], lambda a: a.pow(2)),
    "exp": ([(3, 6)], torch.exp),
    "log": ([(3, 6)], lambda a: (a.abs() + 0.5).log()),
    "acos": ([(3, 6)], lambda a: (a * 0.9).acos()),
    "sqrt": ([(3, 6)], lambda a: a.abs().sqrt()),
    "mse_loss": ([(3, 6), (3, 6)], F.mse_loss),
    "smooth_l1_loss": ([(3, 6), (3, 6)], F.smooth_l1_loss),
    "bce_with_logits": ([(3, 6), (3, 6)], lambda a, b: F.binary_cross_entropy_with_logits(a, b.abs())),
    "add": ([(3, 6), (3, 6)], torch.add),
    "cat": ([(3, 6), (3, 6)], lambda a, b: torch.cat([a, b])),
    "stack": ([(3, 6), (3, 6)], lambda a, b: torch.stack([a, b])),
    "index_select": ([(3, 6)], lambda a: a.index_select(0, torch.tensor([2, 0]))),
}


def value(op, place, shape, kind):
    name = f"{op}.{'abc'[place]}"
    return torch.from_numpy(symmetric(name, shape)).to(kind)


def main():
    torch.set_num_threads(1)
    cases, results = [], {}
    for half in (BF16, HALF):
        for op, (shapes, body) in OPS.items():
            # All in float32, all in the region's type, and the first alone in it.
            for given in ("float32", "half", "mixed"):
                if given == "mixed" and len(shapes) == 1:
                    continue
                kinds = [half if given == "half" or given == "mixed" and place == 0 else FLOAT
                         for place in range(len(shapes))]
                operands = [value(op, place, shape, kind)
                            for place, (shape, kind) in enumerate(zip(shapes, kinds))]
                case = {"region": NAMES[half], "op": op, "given": given,
                        "operands": [NAMES[kind] for kind in kinds], "shapes": shapes}
                try:
                    with torch.no_grad(), torch.autocast("cpu", dtype=half):
                        result = body(*operands)
                except (RuntimeError, NotImplementedError) as error:
                    print(f"{NAMES[half]} {op} {given}: refused: {str(error).splitlines()[0]}")
                    case["result"] = "refused"
                else:
                    case["result"] = NAMES[result.dtype]
                    results[f"{NAMES[half]}.{op}.{given}"] = result.float()
                cases.append(case)
    save_json("autocast", "cases.json", cases)
    save_tensors("autocast", "expected.safetensors", results)


if __name__ == "__main__":
    main()
