"""Where fixtures go and how they are written."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2] / "tests" / "fixtures"


def setup():
    """One thread and deterministic kernels: the same files on every run of one machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float64)


def save_tensors(family, file, tensors):
    path = ROOT / family / file
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, path)
    path.chmod(0o644)
    print(f"{path.relative_to(ROOT.parents[1])}: {path.stat().st_size} bytes, {len(tensors)} tensors")


def save_json(family, file, value):
    """One line per entry of the top-level list or of a top-level value; floats round-trip."""
    path = ROOT / family / file
    path.parent.mkdir(parents=True, exist_ok=True)
    one = lambda v: json.dumps(v, allow_nan=False)
    if isinstance(value, list):
        text = "[\n" + ",\n".join(f"  {one(v)}" for v in value) + "\n]\n"
    else:
        text = "{\n" + ",\n".join(f"  {one(k)}: {one(v)}" for k, v in value.items()) + "\n}\n"
    path.write_text(text)
    print(f"{path.relative_to(ROOT.parents[1])}: {len(text)} bytes, {len(value)} entries")
