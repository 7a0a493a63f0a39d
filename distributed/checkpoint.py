"""A training checkpoint as a folder: everything a run needs to go on, without pickle.

    state.json            TrainState
    model.safetensors     weights
    best.safetensors      weights at the best validation
    optimizer.safetensors Adam's moments by parameter number and name, and its step counts

Promises: loading what was saved gives the same bits; the folder's `state.json` is written last.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rdl_core.pretraining import TrainState


def save_training(
    folder: Path,
    model: torch.nn.Module,
    best: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    state: TrainState,
) -> None:
    """Writes a checkpoint into an existing folder."""
    save_file(
        {n: w.detach().cpu().contiguous().clone() for n, w in model.state_dict().items()}, folder / "model.safetensors"
    )
    save_file(dict(best), folder / "best.safetensors")
    moments = {
        f"{number}/{name}": value.detach().cpu().contiguous()
        for number, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }
    save_file(moments, folder / "optimizer.safetensors")
    (folder / "state.json").write_text(json.dumps(dataclasses.asdict(state)))


def load_training(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[TrainState, dict[str, Tensor]]:
    """Loads weights and optimizer in place; returns (state, best weights)."""
    model.load_state_dict(load_file(folder / "model.safetensors"))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        number, name = key.split("/")
        moments.setdefault(int(number), {})[name] = value
    description: dict[str, Any] = optimizer.state_dict()
    optimizer.load_state_dict({**description, "state": moments})
    state = TrainState(**json.loads((folder / "state.json").read_text()))
    return state, load_file(folder / "best.safetensors")


def committed_step(train_folder: Path) -> int:
    """A step from which the samples of a restarted group may begin: not after any checkpoint that Ray Train can hand to it.

    Ray Train commits a checkpoint after its upload and before the next one begins, so the newest step may be uncommitted but the one
    before it is not; a step may have several folders, of uploads that failed. A folder with half a `state.json` is such an upload.
    Beginning there costs at most one interval of samples, which the workers skip.
    """
    found = {_step_of(p) for p in train_folder.glob("checkpoint_*/state.json")}
    steps = sorted(step for step in found if step is not None)
    return steps[-2] if len(steps) >= 2 else 0


def _step_of(state_file: Path) -> int | None:
    try:
        step: int = json.loads(state_file.read_text())["step"]
    except json.JSONDecodeError:
        return None
    return step
