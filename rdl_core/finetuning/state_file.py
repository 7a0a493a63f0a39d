"""The state of a training as one safetensors file, whose header holds the numbers as JSON.

Promises: the file is replaced as a whole, so that a kill at any moment leaves the state before or after; a state of another run is refused with what
differs; loading runs no code.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from rdl_core.atomic_write import replace_file
from rdl_core.finetuning.state import Tensors, TrainingState

NAME = "training.safetensors"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateFile:
    """The place in which a training keeps its state.

    Args:
        folder: On storage that all workers see.
        interval_s: Seconds between states besides those after validations.
        pause_s: Seconds after a state in which a validation writes none: a state of 20 MB takes about half a second, and there may be validations
            every few seconds.
    """

    folder: Path
    interval_s: float = 300.0
    pause_s: float = 10.0

    @property
    def path(self) -> Path:
        return self.folder / NAME

    def save(self, state: TrainingState, tensors: Tensors, identity: Mapping[str, Any]) -> None:
        """Replaces the file.

        Args:
            identity: All that decides the training; JSON.

        Raises:
            OSError: Whatever keeps a file from being written, also a full disk.
        """
        header = {"state": json.dumps(dataclasses.asdict(state)), "identity": json.dumps(identity)}
        with replace_file(self.path) as partial:
            save_file({n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}, partial, metadata=header)

    def load(self, identity: Mapping[str, Any]) -> tuple[TrainingState, Tensors] | None:
        """Returns the state, or None where there is none.

        Raises:
            ValueError: It is of another training.
        """
        if not self.path.exists():
            return None
        with safe_open(self.path, framework="pt") as file:
            header = file.metadata()
            found, wanted = json.loads(header["identity"]), json.loads(json.dumps(identity))
            if differs := sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key)):
                shown = "; ".join(f"{key}: {found.get(key)} -> {wanted.get(key)}" for key in differs)
                raise ValueError(
                    f"{self.path} is the state of another training (there -> now): {shown}. Remedy: the options as they were, or delete the file to "
                    "train from the start"
                )
            return TrainingState(**json.loads(header["state"])), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def step(self) -> int:
        """Returns from which update of training a run would go on; 0 without a state."""
        if not self.path.exists():
            return 0
        with safe_open(self.path, framework="pt") as file:
            return TrainingState(**json.loads(file.metadata()["state"])).steps

    def remove(self) -> None:
        """Removes the file of a training whose result is written."""
        self.path.unlink(missing_ok=True)
