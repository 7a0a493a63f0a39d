"""Every reach into Ray's private parts: what it is for, and what breaks here if Ray changes it.

Written and measured against Ray 2.60. Another version fails at the import of this file: read each entry against Ray's new source, run
tests/distributed/cluster/test_ray_internals.py, then change RAY_VERSION. No other file may import Ray's private modules or override its private
methods (tests/test_layering.py). Ray itself is imported within the functions, since reading a run's folder needs the snapshot only.
"""

from __future__ import annotations

import importlib.metadata
import json
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ray.train
    import ray.train.torch

RAY_VERSION = "2.60"
if not importlib.metadata.version("ray").startswith(f"{RAY_VERSION}."):
    raise ImportError(
        f"expected Ray {RAY_VERSION}, whose private parts {Path(__file__).name} uses, got {importlib.metadata.version('ray')}.\n"
        f"Remedy: pip install -c constraints.txt 'ray=={RAY_VERSION}.*'"
    )

# 1. Ray Train's trainer: its handler of Ctrl-C, and the callbacks that it adds by itself.


def fit(trainer: ray.train.torch.TorchTrainer) -> ray.train.Result:
    """Runs the trainer's `fit`; at a Ctrl-C, ends controller and workers, then raises KeyboardInterrupt. The handler of before is back afterwards.

    Ray's own handler ends the driver, too, without a word and with status 1, and stays after the run. Ray's cleaner of placement groups is left out:
    it is one more process per run, which asks the State API and so only complains where there is no dashboard (`remove_orphaned_placement_groups`).

    If Ray renames `_register_sigint_handler`, a Ctrl-C ends the driver in silence again; if it renames `_create_default_callbacks` or
    `PlacementGroupCleanerCallback`, the cleaner is back; if it renames `TrainController.abort`, a Ctrl-C leaves the workers to the driver's end.
    """
    own: Any = trainer
    added = own._create_default_callbacks
    own._register_sigint_handler = _raise_at_sigint
    own._create_default_callbacks = lambda: [c for c in added() if type(c).__name__ != "PlacementGroupCleanerCallback"]
    handler = signal.getsignal(signal.SIGINT)
    try:
        return trainer.fit()
    finally:
        if threading.current_thread() is threading.main_thread():  # others get no signals, and may set no handler
            signal.signal(signal.SIGINT, handler)


def _raise_at_sigint(controller: Any) -> None:
    """Ray calls this on the main thread only, when the controller is made."""
    import ray
    from ray.exceptions import RayActorError

    is_aborting = False

    def abort(number: int, frame: FrameType | None) -> None:
        nonlocal is_aborting
        if not is_aborting:  # who presses it again does not wait for them
            is_aborting = True
            with suppress(RayActorError):  # it ends itself
                ray.get(controller.abort.remote())
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, abort)


# 2. The file in which Ray Train's controller keeps the list of committed checkpoints.

SNAPSHOT = "checkpoint_manager_snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """Committed checkpoints of a run.

    Args:
        newest: Name of the folder that a restarted group goes on from; None: there is none yet.
        names: Names of all that are kept.
    """

    newest: str | None
    names: frozenset[str]


def read_snapshot(train_folder: Path) -> Snapshot | None:
    """Returns what the snapshot in a Ray Train run's folder says; None if there is none, or half of one.

    If Ray moves the file or renames its fields, no checkpoint is found: runs would begin anew, and status would see no checkpoint.
    """
    try:
        state = json.loads((train_folder / SNAPSHOT).read_text())
    except (FileNotFoundError, ValueError):
        return None
    newest, kept = state.get("latest_checkpoint_result"), state.get("checkpoint_results", [])
    names = frozenset(result["checkpoint_dir_name"] for result in kept)
    return Snapshot(None if newest is None else newest["checkpoint_dir_name"], names)


# 3. Ray's exceptions.

INNER_ERRORS = ("cause", "health_check_failure", "controller_failure")
"""Attributes of Ray's exceptions that hold the error behind them. If Ray renames one, a failed run names Ray's wrapping instead of the cause, and an
error that would come again is tried again."""


def startup_errors() -> tuple[type[Exception], ...]:
    """Returns Ray Train's errors of workers that do not start, or do not answer: a machine's failure, not our code's.

    If Ray renames them, this raises ImportError.
    """
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError, WorkerHealthCheckTimeoutError

    return WorkerGroupStartupTimeoutError, WorkerHealthCheckTimeoutError


# 4. The tables of the session: the placement groups of Ray Train's controllers that died with the process of their trial.


def remove_orphaned_placement_groups() -> None:
    """Removes the placement groups of this job whose creators, the controllers of Ray Train runs, have died.

    Ray ends a dead trial's controller and workers with their owner, but removes the workers' placement group only at the end of the whole job. Until
    then the group's CPUs are lost to other trials, which would wait for ever. The public functions leave out who made a group.

    If Ray changes its tables, this raises, or removes nothing; in later versions look whether groups of dead creators still stay.
    """
    import ray
    from ray.core.generated.gcs_pb2 import ActorTableData, PlacementGroupTableData  # type: ignore[attr-defined]
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    dead = {controller.actor_id for controller in _controllers() if controller.state == ActorTableData.DEAD}
    for group in [PlacementGroupTableData.FromString(data) for data in _tables().get_placement_group_table()]:
        if group.state != PlacementGroupTableData.REMOVED and group.creator_actor_id in dead:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def num_running_controllers() -> int:
    """Returns how many Ray Train runs of this job have not ended; whatever Ray changes, as above."""
    from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]

    return sum(controller.state != ActorTableData.DEAD for controller in _controllers())


def _controllers() -> list[Any]:
    import ray
    from ray.core.generated.gcs_pb2 import ActorTableData  # type: ignore[attr-defined]

    job = ray.get_runtime_context().get_job_id()
    actors = [ActorTableData.FromString(data) for data in _tables().get_actor_table(None, None)]
    return [actor for actor in actors if actor.class_name == "TrainController" and actor.job_id.hex() == job]


def _tables() -> Any:
    import ray

    return ray._private.state.state._connect_and_get_accessor()


# 5. ASHA's rungs, which Ray Tune leaves out of what `Tuner.restore` loads (TuneController.__getstate__).


def fill_rungs(scheduler: Any, trial: str, step: int, score: float) -> None:
    """Enters a result of an earlier session into the rungs of a scheduler with one bracket; the higher the score, the better.

    If Ray renames `_brackets` or their `on_result`, this raises AttributeError.
    """
    entered: Any = SimpleNamespace(trial_id=trial)
    scheduler._brackets[0].on_result(entered, step, score)


def rename_in_rungs(scheduler: Any, old: str, new: str) -> None:
    """Keeps a trial's places in the rungs when Tune gives it a new id.

    If Ray renames `_brackets` or `_rungs`, this raises AttributeError; if it changes what a rung holds, a resumed trial counts twice.
    """
    for _, recorded in scheduler._brackets[0]._rungs:
        if old in recorded:
            recorded[new] = recorded.pop(old)
