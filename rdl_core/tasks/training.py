"""The training of a run while validation decides: its courses and phases, when they end, and how it goes on after a crash; and training again.

    course: a way to train, in phases: "frozen" the head alone, "scratch" and "finetuned" all; `unfreeze` says which courses are tried

Promises
- Each course begins with the first weights; each phase with the best of the phase before, a new optimizer and the generators of dropout started over.
- With a state file, the state is written after each phase, after a validation if `pause_s` have passed since the last, and every `interval_s`;
  whenever a run is killed, it goes on to the same bits.
  Vectors of a frozen backbone are not written but made again, in the batches in which they were first made: a vector's last bits depend on its batch.
- The time budget is asked after every update, by the mean of the workers' clocks over all restarts: when it is over, one more validation is done, and
  no further phase or course begins.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from rdl_core.config import Arm
from rdl_core.finetuning import BestWeights, StateFile, TrainingState
from rdl_core.finetuning.state import Tensors, named, part_of, put_back, tensors_of
from rdl_core.tasks.finetuning_result import Course, Trained
from rdl_core.tasks.updates import Updates

if TYPE_CHECKING:
    from rdl_core.tasks.finetuning import Finetuning


class Training:
    """A training that begins, or goes on.

    Args:
        run: What is trained, with its first weights.
        states: Where its state is kept, or None.
    """

    def __init__(self, run: Finetuning, states: StateFile | None) -> None:
        self.run, self.states, self.config = run, states, run.config
        self.state = TrainingState()
        self.best = BestWeights(is_higher_better=run.is_higher_better)
        self.reached = BestWeights(is_higher_better=run.is_higher_better)
        self._identity = {} if states is None else self._identified()
        self._begun_s = self._saved_s = time.perf_counter()
        self._seconds_before = 0.0

    def __call__(self) -> Trained:
        """Trains, and leaves the best weights in the model.

        Raises:
            FloatingPointError: No validation metric is finite.
            ValueError: The state is of another training.
            RuntimeError: Not all workers see the same state.
        """
        run, tensors = self.run, self._load()
        state, courses = self.state, run.courses()
        while not state.finished:
            course = courses[state.course]
            run.phase = course[len(state.phases)]
            why = self._train_phase(tensors)
            tensors = None
            state.end_phase(run.phase)
            if len(state.phases) == len(course) or why == "time_budget":
                self._end_course()
            if state.course == len(courses) or why == "time_budget":
                state.finished = why
            self._save(named("model", run.model.state_dict()))
        if self.best.weights is None or self.best.value is None:
            raise FloatingPointError(
                f"no finite validation metric in {state.steps} steps of {run.task.name}; lower the learning rate"
            )
        run.phase = courses[-1][-1]
        run.model.load_state_dict(self.best.weights)
        chosen: Any = tuple((phase, step) for phase, step in state.best_phases)
        return Trained(val=self.best.value, steps=state.steps, course=chosen, finished=state.finished)

    def _train_phase(self, tensors: Tensors | None) -> str:
        """Trains one phase to its end and leaves the best weights of the course in the model; returns why it ended.

        Args:
            tensors: To go on from; None: the phase begins.
        """
        run, state = self.run, self.state
        updates, order = run.begin(), run.order("train")
        if tensors is not None:
            put_back(tensors, run.model, updates.average, updates.optimizer, run.communicator)
        most = state.steps_before + self.config.max_steps
        run.callbacks.on_phase(_words(run.arm, run.phase), most, min(self.config.batch_size, len(order.rows)))
        while not (why := self._why_over()):
            loss = run.update(updates, state.step, "train", order)
            state.step += 1
            if run.phase == "frozen":
                state.head_steps = max(state.head_steps, state.step)
            run.callbacks.on_step(state.steps, loss)
            since_saved_s = self._look_at_the_clock()
            is_last = state.step >= self.config.max_steps or self._is_out_of_time()
            is_validated = is_last or state.step % self.config.validation_interval_steps == 0
            if is_validated:
                self._validate(updates)
            if self._is_save_due(since_saved_s, is_validated=is_validated):
                self._save(tensors_of(run.model, updates.average, updates.optimizer, run.communicator))
        if self.reached.weights is not None:
            run.model.load_state_dict(self.reached.weights)
        return why

    def _end_course(self) -> None:
        """Keeps the weights of the course that went on if they are the best, and begins the next with the first weights."""
        is_best = self.best.is_beaten_by(self.reached.value)
        if is_best:
            self.best = self.reached
        self.reached = BestWeights(is_higher_better=self.run.is_higher_better)
        self.state.end_course(is_best=is_best)
        self.run.model.load_state_dict(self.run.first_weights)

    def _why_over(self) -> str:
        """Returns why the phase is over, or "": asked before each update."""
        state = self.state
        if state.step and self._is_out_of_time():
            return "time_budget"
        if state.since_best >= self.config.patience:
            return "patience"
        return "max_steps" if state.step >= self.config.max_steps else ""

    def _is_out_of_time(self) -> bool:
        return self.config.max_hours is not None and self.state.seconds >= self.config.max_hours * 3600

    def _validate(self, updates: Updates) -> None:
        state = self.state
        value = self.run.evaluate(updates.kept, "val")[self.run.metric]
        self.run.callbacks.on_validation(state.steps, value)
        if self.reached.take(value, updates.kept):
            state.reached, state.best_step, state.since_best = value, state.step, 0
        else:
            state.since_best += 1

    def _look_at_the_clock(self) -> float:
        """Sets the seconds of training, and returns those since the state was saved; a collective, every worker comes to the same."""
        if self.states is None and self.config.max_hours is None:
            return 0.0
        now_s, communicator = time.perf_counter(), self.run.communicator
        mine = torch.tensor([self._seconds_before + now_s - self._begun_s, now_s - self._saved_s], dtype=torch.float64)
        self.state.seconds, since_saved_s = (communicator.sum(mine) / communicator.world_size).tolist()
        return float(since_saved_s)

    def _is_save_due(self, since_saved_s: float, *, is_validated: bool) -> bool:
        """Returns whether the state is to be saved after an update; not after the last of a phase, whose end saves it."""
        if self.states is None or self._why_over():
            return False
        return since_saved_s >= self.states.interval_s or (is_validated and since_saved_s >= self.states.pause_s)

    def _save(self, tensors: Tensors) -> None:
        if self.states is not None and self.run.communicator.rank == 0:
            kept = named("reached", self.reached.weights or {}) | named("best", self.best.weights or {})
            self.states.save(self.state, tensors | kept, self._identity)
        self._saved_s = time.perf_counter()

    def _load(self) -> Tensors | None:
        """Takes over the state that is there; returns the tensors of the phase that goes on, None where one begins."""
        found = None if self.states is None else self.states.load(self._identity)
        run = self.run
        steps = [int(s) for s in run.communicator.gather(torch.tensor([-1 if found is None else found[0].steps]))]
        if len(set(steps)) > 1:
            raise RuntimeError(
                f"the workers see different states of training, of the updates {steps}; expected one. Remedy: --runs-dir on storage that all nodes "
                "share"
            )
        if found is None:
            return None
        self.state, tensors = found
        self._seconds_before = self.state.seconds
        order = run.order("train")
        for step in range(self.state.head_steps):
            run.inputs.vectors(run.model, "train", run.share_of(order(step)[0]))
        self.reached, self.best = (
            BestWeights(
                is_higher_better=run.is_higher_better,
                value=value,
                weights={name: weight.to(run.device) for name, weight in part_of(tensors, part).items()} or None,
            )
            for part, value in (("reached", self.state.reached), ("best", self.state.best))
        )
        if self.state.step:
            return tensors
        run.model.load_state_dict(part_of(tensors, "model"))
        return None

    def _identified(self) -> dict[str, Any]:
        """Returns all that decides the training; the weights that it starts from stand for checkpoint and form of the model."""
        run, digest = self.run, hashlib.sha256()
        for name, weight in run.first_weights.items():
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
        return {
            "task": run.task.name,
            "arm": run.arm,
            "regime": run.regime,
            "finetuning": asdict(run.config),
            "store": run.store.content_hash,
            "workers": run.communicator.world_size,
            "first_weights": digest.hexdigest(),
        }


def train_again(run: Finetuning, name: str, learned: str, part: NDArray[np.int64] | None, course: Course) -> int:
    """Trains from the first weights for as many epochs as the chosen weights had seen; returns the number of updates.

    Args:
        name: What it is for, for people.
        learned: "train" or "refit".
        part: Rows of it, int64 [part]; None: all.
        course: What validation chose.
    """
    run.model.load_state_dict(run.first_weights)
    order, done = run.order(learned, part), 0
    ratio = order.steps_per_epoch / run.order("train").steps_per_epoch
    steps = [max(1, round(best_step * ratio)) if best_step else 0 for _, best_step in course]
    run.callbacks.on_phase(name, sum(steps), min(run.config.batch_size, len(order.rows)))
    for (phase, _), steps_of_phase in zip(course, steps, strict=True):
        run.phase = phase
        updates = run.begin()
        for step in range(steps_of_phase):
            done += 1
            run.callbacks.on_step(done, run.update(updates, step, learned, order))
        run.model.load_state_dict(updates.kept.state_dict())
    return done


def _words(arm: Arm, phase: Arm) -> str:
    return "training the head alone" if phase == "frozen" != arm else "training"
