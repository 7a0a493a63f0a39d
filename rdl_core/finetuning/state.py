"""The state of a training on labels: all that changes in it, taken as numbers and tensors, and put back to go on with the same bits.

    model/...        weights, and statistics of batch norm
    reached/...      weights at the best validation of the course that goes on; absent before the first finite one
    best/...         those of the best course that is over
    average/...      the moving average of the weights; absent where none is taken, and between phases
    optimizer/N/...  moments and step counts of the N-th parameter; likewise
    random           uint8 [workers, bytes]: each worker's generator of dropout on the CPU; random_cuda: likewise on its GPU

Batches and trees are functions of (seed, step), so no other draw needs a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rdl_core.communicator import Communicator

Tensors = dict[str, Tensor]


@dataclass
class TrainingState:
    """The point that a training has reached, besides its tensors. A course is a way to train, in phases; validation chooses among the courses.

    Args:
        course: Number of the course that goes on.
        phases: The phases of that course that are over, each with its updates at the best validation; 0: none was better than the phases before.
        step: Updates of the phase that goes on.
        best_step: Those at its best validation.
        since_best: Its validations without a new best.
        reached: The metric at the best validation of that course; None before the first finite one.
        best, best_phases: The same, and `phases`, of the best course that is over.
        steps_before: Updates of all phases that are over.
        head_steps: Updates of the longest phase in which the head alone learned, of a frozen backbone's vectors.
        seconds: Time so far over all restarts, the mean of the workers' clocks.
        finished: Why training ended: "max_steps", "patience" or "time_budget"; "" while it goes on.
    """

    course: int = 0
    phases: list[tuple[str, int]] = field(default_factory=list)
    step: int = 0
    best_step: int = 0
    since_best: int = 0
    reached: float | None = None
    best: float | None = None
    best_phases: list[tuple[str, int]] = field(default_factory=list)
    steps_before: int = 0
    head_steps: int = 0
    seconds: float = 0.0
    finished: str = ""

    @property
    def steps(self) -> int:
        """Updates of all phases and courses."""
        return self.steps_before + self.step

    def end_phase(self, phase: str) -> None:
        """Notes that the phase that went on is over."""
        self.phases.append((phase, self.best_step))
        self.steps_before += self.step
        self.step, self.best_step, self.since_best = 0, 0, 0

    def end_course(self, *, is_best: bool) -> None:
        """Notes that the course that went on is over."""
        if is_best:
            self.best, self.best_phases = self.reached, self.phases
        self.course, self.phases, self.reached = self.course + 1, [], None


def tensors_of(
    model: torch.nn.Module,
    average: torch.nn.Module | None,
    optimizer: torch.optim.Optimizer,
    communicator: Communicator,
) -> Tensors:
    """Returns the tensors of a phase that goes on, without the best weights; a collective, since every worker has a generator of its own."""
    found = named("model", model.state_dict()) | named("average", average.state_dict() if average else {})
    for number, entry in optimizer.state_dict()["state"].items():
        found |= named(f"optimizer/{number}", entry)
    found["random"] = torch.stack(communicator.gather(torch.get_rng_state()))
    device = next(model.parameters()).device
    if device.type == "cuda":
        found["random_cuda"] = torch.stack(communicator.gather(torch.cuda.get_rng_state(device)))
    return found


def put_back(
    tensors: Tensors,
    model: torch.nn.Module,
    average: torch.nn.Module | None,
    optimizer: torch.optim.Optimizer,
    communicator: Communicator,
) -> None:
    """Loads tensors of a training in place, and the generators of dropout."""
    model.load_state_dict(part_of(tensors, "model"))
    if average is not None:
        average.load_state_dict(part_of(tensors, "average"))
    moments: dict[int, Tensors] = {}
    for key, value in part_of(tensors, "optimizer").items():
        number, name = key.split("/")
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    torch.set_rng_state(tensors["random"][communicator.rank])
    if "random_cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random_cuda"][communicator.rank], next(model.parameters()).device)


def named(part: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """Returns tensors under the name of a part: "model", "reached", "best", "average" or "optimizer"."""
    return {f"{part}/{name}": value for name, value in tensors.items()}


def part_of(tensors: Mapping[str, Tensor], part: str) -> Tensors:
    """Returns the tensors of a part by their own names."""
    return {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}
