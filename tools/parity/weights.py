"""Files that PyTorch writes, small, and what is in them: tests/fixtures/weights/.

`read/` are files that must load; `expected.safetensors` holds their tensors as `{file}:{name}`.
`refused/` are files that must not. Nothing is downloaded. A class that runs a command on loading is
pickled in two of them; nothing here loads those.
"""

import argparse
import collections
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

ROOT = Path(__file__).parents[2] / "tests/fixtures/weights"


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/arcrun-was-executed",)


def numbers(*shape, dtype=torch.float32):
    count = int(np.prod(shape))
    return (torch.arange(count, dtype=torch.float64) * 0.37 - 1.5).reshape(shape).to(dtype)


def network(prefix=""):
    """Two layers, as a state dict has them."""
    tensors = {
        "conv.weight": numbers(2, 3, 1, 2),
        "bn.weight": numbers(2) + 2,
        "bn.running_var": numbers(2) + 3,
        "bn.num_batches_tracked": torch.tensor(7),
    }
    return collections.OrderedDict((prefix + name, x) for name, x in tensors.items())


def types():
    kinds = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64"]
    tensors = {kind: numbers(2, 3, dtype=getattr(torch, kind)) for kind in kinds}
    tensors["uint8"] = torch.tensor([0, 255, 7], dtype=torch.uint8)
    tensors["bool"] = torch.tensor([True, False, True])
    tensors["scalar"] = torch.tensor(3.5)
    tensors["empty"] = torch.zeros(0, 4)
    return tensors


def views():
    base = numbers(4, 6)
    return {
        "transposed": base.t(),
        "rows": base[1:3],
        "every_second": base[:, ::2],
        "channels_last": numbers(1, 3, 2, 2).contiguous(memory_format=torch.channels_last),
        "shared": base,
        "expanded": torch.tensor([1.0, 2.0]).expand(3, 2),
        "offset_half": numbers(8, dtype=torch.float16)[3:7],
    }


def checkpoint():
    """What a training script keeps: the optimizer has moved, so that it has state."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(numbers(1, 2)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "arch": "tiny",
        "best_acc1": torch.tensor(75.25),
        "state_dict": network(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, path=Path("x"), sizes=(1, 2), seed=2**70),
        "log": [0.5, None, True, {"a": {1, 2}, "b": b"bytes"}],
        "random": (np.random.RandomState(0).get_state(), torch.device("cpu"), torch.float16),
    }


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, (1, 2), bias=False)
        self.bn = nn.BatchNorm2d(2)

    def forward(self, x):
        return self.bn(self.conv(x))


def script():
    model = Tiny().eval()
    state = {name: numbers(*x.shape) if x.dim() else torch.tensor(7) for name, x in model.state_dict().items()}
    model.load_state_dict(state)
    return torch.jit.script(model)


LEGACY = {"_use_new_zipfile_serialization": False}


def main():
    shutil.rmtree(ROOT, ignore_errors=True)
    read, refused = ROOT / "read", ROOT / "refused"
    read.mkdir(parents=True)
    refused.mkdir()
    expected, cases = {}, []

    def good(name, content, tensors, format, nesting=(), **options):
        torch.save(content, read / name, **options)
        keep(name, tensors, format, nesting)

    def keep(name, tensors, format, nesting=()):
        for key, tensor in tensors.items():
            expected[f"{name}:{key}"] = tensor.detach().contiguous().clone()
        cases.append({"file": name, "format": format, "nesting": list(nesting), "tensors": len(tensors)})

    new, old = "PyTorch (zip)", "PyTorch (legacy)"
    good("types.pt", types(), types(), new)
    good("types_legacy.pt", types(), types(), old, **LEGACY)
    good("views.pth", views(), views(), new)
    good("views_legacy.pth", views(), views(), old, **LEGACY)
    parameters = {name: nn.Parameter(x) if x.is_floating_point() else x for name, x in network().items()}
    good("parameters.bin", parameters, network(), new)
    good("protocol4.pt", network(), network(), new, pickle_protocol=4)
    good("protocol4_legacy.pt", network(), network(), old, pickle_protocol=4, **LEGACY)
    good("half.pt", {k: x.half() if x.is_floating_point() else x for k, x in network().items()},
         {k: x.half() if x.is_floating_point() else x for k, x in network().items()}, new)
    good("checkpoint.pth.tar", checkpoint(), network(), new, ["state_dict"])
    good("checkpoint_legacy.ckpt", checkpoint(), network(), old, ["state_dict"], **LEGACY)
    twice = {"model": {"state_dict": network("module."), "steps": 5}, "ema": {"a": torch.ones(1)}}
    good("nested_twice.pt", twice, network("module."), new, ["model", "state_dict"])
    good("data_parallel.pth", network("module.backbone."), network("module.backbone."), old, **LEGACY)
    classifier = {**network(), "fc.weight": numbers(5, 2), "fc.bias": numbers(5)}
    good("classifier.pt", classifier, classifier, new)
    good("one_dict.pt", {"weights_of_mine": network(), "step": 3}, network(), new, ["weights_of_mine"])
    torch.serialization.set_crc32_options(False)
    good("no_checksums.pt", network(), network(), new)
    torch.serialization.set_crc32_options(True)
    scripted = script()
    torch.jit.save(scripted, str(read / "script.pt"))
    keep("script.pt", scripted.state_dict(), "TorchScript")
    plain = {name: x for name, x in types().items()}
    save_file(plain, read / "types.safetensors", {"made": "by safetensors"})
    keep("types.safetensors", plain, "safetensors")

    def bad(name, content, **options):
        torch.save(content, refused / name, **options)

    bad("code.pt", Evil())
    bad("code_legacy.pt", Evil(), **LEGACY)
    bad("code_beside.pt", {"state_dict": network(), "hook": Evil()})
    bad("numpy_inside.pt", {**network(), "x": np.arange(3)})
    bad("namespace_inside.pt", {**network(), "args": argparse.Namespace(lr=0.1)})
    bad("model.pt", nn.Linear(2, 1))
    bad("model_inside.pt", {"model": nn.Linear(2, 1), "epoch": 1})
    bad("several.pt", {"netG": network(), "netD": network()})
    bad("list.pt", [torch.ones(2), torch.ones(3)])
    bad("nothing.pt", {"epoch": 3, "loss": 0.5})
    bad("empty.pt", {})
    bad("sparse.pt", {**network(), "x": torch.eye(2).to_sparse()})
    bad("odd_type.pt", {**network(), "x": torch.zeros(2, dtype=torch.uint16)})
    frozen = torch.jit.freeze(scripted.eval())
    torch.jit.save(frozen, str(refused / "script_constants.pt"))
    with open(refused / "arrays.pkl", "wb") as file:
        pickle.dump({"w": np.arange(3)}, file)
    np.savez(refused / "arrays.npz", w=np.arange(3))

    save_file(expected, ROOT / "expected.safetensors")
    with open(ROOT / "cases.json", "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
