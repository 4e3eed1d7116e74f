"""Fixtures for backbones and the head in float64, weights filled by formula: see README.md.

Writes all of them, or those of the families that are named: `backbone.py resnet iresnet`.
"""

import sys

import torch

import fill
import fixtures
from backbone_cases import FAMILIES
from models import Head, backbone

INPUT = (2, 3, 64, 64)
# Names of a network of more tensors are kept as a hash.
LONG = 650
SMALL = {"channels": [8, 12, 20], "depths": [1, 2, 1], "squeeze_excite": 0.0, "pool": 2}
ODD = {"channels": [8, 16], "depths": [2, 1], "squeeze_excite": 0.25, "pool": 1}

RESNET18 = ["conv1.weight", "layer2.0.downsample.0.weight", "layer3.1.bn2.bias", "layer4.1.conv2.weight",
            "layer4.1.bn2.weight"]
RESNET50 = ["conv1.weight", "layer1.0.conv3.weight", "layer3.2.bn2.bias", "layer4.0.downsample.0.weight",
            "layer4.2.conv3.weight"]
EFFICIENT = ["stem.conv.weight", "stages.2.0.depthwise.conv.weight", "stages.2.0.se.reduce.weight",
             "stages.2.1.se.expand.bias", "stages.3.0.skip.conv.weight", "stages.4.1.pointwise.bn.bias",
             "stages.4.1.pointwise.conv.weight"]
LENET = ["stages.0.0.conv.weight", "stages.0.1.prelu.weight", "stages.1.0.conv.weight", "stages.2.1.conv.weight",
         "stages.2.1.prelu.weight"]
MOBILE = ["conv1.conv.weight", "dw_conv1.prelu.weight", "blocks.0.conv.3.weight", "blocks.4.conv.5.weight",
          "blocks.5.conv.6.weight", "blocks.11.conv.7.bias", "blocks.12.conv.2.weight", "blocks.14.conv.0.weight",
          "conv2.prelu.weight", "linear7.conv.weight", "linear1.bn.weight"]
# name, kind, keys, input shape, parameters whose gradients are kept, batch norms whose statistics are
CASES = [
    ("resnet18", "resnet18", {}, INPUT, RESNET18, ["bn1", "layer2.0.downsample.1", "layer4.1.bn2"]),
    ("resnet50", "resnet50", {}, INPUT, RESNET50, ["bn1", "layer2.0.downsample.1", "layer4.2.bn3"]),
    ("efficient_fr", "efficient_fr", {}, INPUT, EFFICIENT,
     ["stem.bn", "stages.1.0.depthwise.bn", "stages.3.0.skip.bn", "stages.4.1.pointwise.bn"]),
    ("efficient_fr_no_se_pool2", "efficient_fr", SMALL, INPUT,
     ["stem.conv.weight", "stages.1.0.skip.conv.weight", "stages.2.0.pointwise.conv.weight"],
     ["stem.bn", "stages.2.0.pointwise.bn"]),
    ("efficient_fr_odd_size", "efficient_fr", ODD, (3, 3, 45, 37),
     ["stem.conv.weight", "stages.0.1.depthwise.conv.weight", "stages.1.0.pointwise.conv.weight"],
     ["stem.bn", "stages.1.0.pointwise.bn"]),
    # The paper's size, where the pooling to 3x3 changes nothing.
    ("embedding_2d", "embedding_2d", {}, (2, 3, 28, 28), [*LENET, "stages.1.1.conv.bias"], []),
    ("embedding_2d_bn_odd_size", "embedding_2d", {"batch_norm": True}, (3, 3, 45, 37),
     [*LENET, "stages.1.1.bn.bias"], ["stages.0.0.bn", "stages.2.1.bn"]),
    # The size of the published weights. Three images: of two, batch norm of single pixels leaves only signs.
    ("mobilefacenet", "mobilefacenet", {"kernel": [7, 6]}, (3, 3, 112, 96), MOBILE,
     ["conv1.bn", "blocks.0.conv.4", "blocks.12.conv.7", "linear7.bn", "linear1.bn"]),
    ("mobilefacenet_odd_size", "mobilefacenet", {"kernel": [3, 2], "features": 8}, (4, 3, 45, 29), MOBILE,
     ["dw_conv1.bn", "blocks.5.conv.1", "linear7.bn", "linear1.bn"]),
]


def values(name, shape):
    return torch.from_numpy(fill.symmetric(name, tuple(shape)))


def summary(tensor, first=8):
    """The first values, the sum and the sum of squares: numbers that pin a tensor."""
    flat = tensor.detach().flatten()
    assert flat.isfinite().all()
    return {"first": flat[:first].tolist(), "sum": flat.sum().item(), "sum_of_squares": flat.square().sum().item()}


def forward_backward(module, shape, parameters):
    """Outputs, the loss sum(features * cotangent), and its gradients in the mode `module` is in."""
    image = values("input", shape).requires_grad_()
    features = module(image)
    cotangent = values("cotangent", features.shape)
    loss = (features * cotangent).sum()
    module.zero_grad()
    loss.backward()
    named = dict(module.named_parameters())
    gradients = {"input": summary(image.grad)}
    gradients |= {name: summary(named[name].grad) for name in parameters}
    return features.detach(), {"loss": loss.item(), "gradients": gradients}


def run_case(name, module, shape, parameters, norms):
    fill.fill_module(module)
    out, tensors = {"input": list(shape)}, {}
    for mode in ("eval", "train"):
        module.train(mode == "train")
        features, out[mode] = forward_backward(module, shape, parameters)
        tensors[f"{name}.{mode}.features"] = features
    # one forward in train mode has moved the running statistics (momentum 0.1, unbiased variance)
    buffers = dict(module.named_buffers())
    out["running"] = {f"{norm}.{key}": summary(buffers[f"{norm}.{key}"])
                      for norm in norms for key in ("running_mean", "running_var")}
    return out, tensors


def listing(module):
    """[name, shape] of all parameters and of what is not trained, in torch's order."""
    state = module.state_dict()
    parameters = {name for name, tensor in module.named_parameters() if tensor.requires_grad}
    found = {"parameters": [], "buffers": []}
    for name, tensor in state.items():
        if tensor.is_floating_point():  # not num_batches_tracked
            found["parameters" if name in parameters else "buffers"].append([name, list(tensor.shape)])
    return found


def brief(listing):
    """The same, but of a long list only a hash."""
    count = sum(map(len, listing.values()))
    if count <= LONG:
        return listing
    lines = [f"{name} {shape} {role}" for role, tensors in listing.items() for name, shape in tensors]
    return {"count": count, "fnv1a64": f"{fill.fnv1a64(chr(10).join(sorted(lines))):016x}"}


def known_values():
    """The fill itself: bits as hex, u and the value as a parameter."""
    probes = [("input", (2, 3)), ("cotangent", (3,)), ("conv1.weight", (2, 3, 2, 2)),
              ("bn1.weight", (4,)), ("bn1.bias", (4,)), ("bn1.running_mean", (4,)),
              ("bn1.running_var", (4,)), ("", (2,)), ("größe", (2,))]
    out = []
    for name, shape in probes:
        count = int(torch.tensor(shape).prod())
        out.append({"name": name, "shape": list(shape), "fnv1a64": f"{fill.fnv1a64(name):016x}",
                    "bits": [f"{int(z):016x}" for z in fill.bits(name, count)],
                    "uniform": fill.uniform(name, shape).flatten().tolist(),
                    "symmetric": fill.symmetric(name, shape).flatten().tolist(),
                    "parameter": fill.parameter(name, shape).flatten().tolist() if name else None})
    return out


def heads():
    """The head alone: features [5, 12] to embeddings."""
    cases, tensors = {}, {}
    for name, config in (("linear", {"embedding_dim": 4, "batch_norm": False}),
                         ("linear_bn", {"embedding_dim": 4, "batch_norm": True}),
                         ("none", {"embedding_dim": 12, "projection": "none"}),
                         ("none_bn", {"embedding_dim": 12, "projection": "none", "batch_norm": True}),
                         ("linear_without_bias", {"embedding_dim": 4, "bias": False}),
                         # How InsightFace's networks end.
                         ("fixed_scale", {"embedding_dim": 4, "batch_norm": True, "batch_norm_scale": False}),
                         ("unit_length", {"embedding_dim": 4, "normalize": True}),
                         ("unit_length_bn", {"embedding_dim": 4, "batch_norm": True, "normalize": True}),
                         ("mlp", {"embedding_dim": 4, "projection": "mlp"}),
                         ("mlp_hidden", {"embedding_dim": 4, "projection": "mlp", "hidden_dim": 7, "bias": False,
                                         "normalize": True})):
        module = Head(12, **config)
        batch_norm = config.get("batch_norm", False)
        parameters = [key for key, parameter in module.named_parameters() if parameter.requires_grad]
        norms = ["bn"] if batch_norm else []
        cases[name], found = run_case(name, module, (5, 12), parameters, norms)
        cases[name] |= {"config": config} | listing(module)
        tensors |= {key.replace("features", "embedding"): value for key, value in found.items()}
    fixtures.save_json("head", "cases.json", cases)
    fixtures.save_tensors("head", "expected.safetensors", tensors)


def in_a_folder(family):
    """The cases of one file of `src/backbone`; of the features a summary."""
    cases, names = {}, {}
    for name, kind, keys, shape, parameters, norms in FAMILIES[family]:
        module, features = backbone(kind, **keys)
        names[name] = {"features": features} | brief(listing(module))
        out, found = run_case(name, module, shape, parameters, norms)
        for mode in ("eval", "train"):
            out[mode]["features"] = summary(found[f"{name}.{mode}.features"], 64)
        cases[name] = {"kind": kind, "config": keys} | out
    fixtures.save_json(f"backbone/{family}", "names.json", names)
    fixtures.save_json(f"backbone/{family}", "cases.json", cases)


def in_common():
    cases, names, tensors = {}, {}, {}
    for name, kind, keys, shape, parameters, norms in CASES:
        module, features = backbone(kind, **keys)
        names[name] = {"features": features} | listing(module)
        out, found = run_case(name, module, shape, parameters, norms)
        cases[name] = {"kind": kind, "config": keys} | out
        tensors |= found
    fixtures.save_json("backbone", "fill.json", known_values())
    fixtures.save_json("backbone", "names.json", names)
    fixtures.save_json("backbone", "cases.json", cases)
    fixtures.save_tensors("backbone", "expected.safetensors", tensors)


def main():
    fixtures.setup()
    if not sys.argv[1:]:
        in_common()
        heads()
    for family in sys.argv[1:] or FAMILIES:
        in_a_folder(family)


if __name__ == "__main__":
    main()
