"""A training checkpoint as a folder: everything a run needs to go on, without pickle.

    run.json              identity of the run: seed, configuration and its hash, store hash, W&B id
    state.json            TrainState: step, cursor (`consumed`: the samples trained on), best, history
    model.safetensors     weights
    best.safetensors      weights at the best validation
    optimizer.safetensors Adam's moments by parameter number and name, and its step counts

Promises: loading what was saved gives the same bits; a checkpoint of another configuration or store is refused with the difference shown;
the folder's `state.json` is written last. Which folder counts is decided by commits.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from safetensors.torch import load_file, save_file
from torch import Tensor

from distributed.runs.folder import describe_differences
from rdl_core.config import PretrainingConfig, checked
from rdl_core.pretraining.state import TrainState

NOT_COMPARED = ("wandb_id", "config_sha256")
"""Entries of run.json: the W&B id says where figures went; the hash has nothing that `config` has not."""


@checked
class CheckpointPolicy:
    """The frequency of checkpoints besides those at validations, and the number that stay.

    Args:
        interval_steps: Updates between checkpoints; None: not by updates.
        interval_s: Seconds between checkpoints; None: not by time.
        num_to_keep: Number of checkpoints that stay, the newest.
    """

    interval_steps: PositiveInt | None = None
    interval_s: PositiveFloat | None = 300.0
    num_to_keep: PositiveInt = 3


def run_identity(config: PretrainingConfig, store_hash: str, wandb_id: str | None) -> dict[str, Any]:
    """Returns what run.json holds: all that decides a run's result, and where its figures are."""
    values = json.loads(json.dumps(dataclasses.asdict(config)))
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return {
        "seed": config.seed,
        "config_sha256": digest,
        "store": store_hash,
        "wandb_id": wandb_id,
        "config": values,
    }


def check_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Refuses a checkpoint of another run.

    Raises:
        ValueError: Showing what differs.
    """
    found = json.loads((folder / "run.json").read_text())
    old, new = ({k: v for k, v in one.items() if k not in NOT_COMPARED} for one in (found, identity))
    if differences := describe_differences(old, new):
        shown = "\n  ".join(differences[:12])
        raise ValueError(
            f"checkpoint {folder} belongs to another run (there -> now):\n  {shown}\n"
            f"Remedy: the same configuration, store and samples per step to go on, or another --run-name to begin anew"
        )


def save_training(
    folder: Path,
    model: torch.nn.Module,
    best: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    state: TrainState,
    identity: Mapping[str, Any],
) -> None:
    """Writes a checkpoint into an existing folder.

    Raises:
        OSError: Whatever keeps a file from being written, also a full disk.
    """
    moments = {
        f"{number}/{name}": value.detach().cpu().contiguous()
        for number, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }
    weights = {n: w.detach().cpu().contiguous().clone() for n, w in model.state_dict().items()}
    (folder / "run.json").write_text(json.dumps(identity))
    for name, tensors in (("model", weights), ("best", dict(best)), ("optimizer", moments)):
        save_file(tensors, folder / f"{name}.safetensors")
    (folder / "state.json").write_text(json.dumps(dataclasses.asdict(state)))


def load_training(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, identity: Mapping[str, Any]
) -> tuple[TrainState, dict[str, Tensor]]:
    """Loads weights and optimizer in place; returns (state, best weights).

    Raises:
        ValueError: The checkpoint is of another configuration or store.
    """
    check_identity(folder, identity)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        number, name = key.split("/")
        moments.setdefault(int(number), {})[name] = value
    description: dict[str, Any] = optimizer.state_dict()
    optimizer.load_state_dict({**description, "state": moments})
    return load_state(folder), load_file(folder / "best.safetensors")


def load_state(folder: Path) -> TrainState:
    """Returns the TrainState of a checkpoint."""
    return TrainState(**json.loads((folder / "state.json").read_text()))
