"""The average of torch.optim.swa_utils over a few updates: tests/fixtures/ema.json.

python tools/parity/ema.py
"""

import json
from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

DECAY = 0.9


def main() -> None:
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY), use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    values, averages = [], []
    flat = lambda state: torch.cat([t.reshape(-1) for t in state if t.is_floating_point()]).tolist()
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
        averaged.update_parameters(model)
        values.append(flat(model.state_dict().values()))
        averages.append(flat(averaged.module.state_dict().values()))
    path = Path(__file__).parents[2] / "tests/fixtures/ema.json"
    path.write_text(json.dumps({"decay": DECAY, "values": values, "averages": averages}) + "\n")


if __name__ == "__main__":
    main()
