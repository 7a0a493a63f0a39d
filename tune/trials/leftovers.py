"""What a Ray Train run leaves behind when the process of its trial is ended from outside, and its removal.

Ray ends a dead trial's controller and workers with their owner, but removes the workers' placement group only at the end of the whole job. Ray
Train's own cleaner of such groups (an actor for each run) asks the State API, hence works only beside a dashboard, which our local sessions are
without; there it stays for ever, too. The CPUs of the group are lost to the next trials, which then wait for ever. So the sweep's driver does this
work. Measured with Ray 2.60.0; in later versions look whether groups of dead creators still stay.
"""

from __future__ import annotations

import time
from typing import Any

import ray
import ray.train.v2.api.data_parallel_trainer as trainer_module
from ray.core.generated.gcs_pb2 import ActorTableData, PlacementGroupTableData  # type: ignore[attr-defined]
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group

INTERVAL_S = 1.0
END_LIMIT_S = 30.0
"""For the processes of the last trials to end."""


class NoCleaner(ControllerCallback):
    """In the place of Ray Train's PlacementGroupCleanerCallback."""


def leave_out_cleaner() -> None:
    """Ray Train runs that this process starts have no cleaner of their own."""
    trainer_module.PlacementGroupCleanerCallback = NoCleaner  # type: ignore[assignment, misc]


class Leftovers:
    """Of the Ray Train runs of this driver's trials."""

    def __init__(self) -> None:
        self._looked_s = 0.0

    def remove_often(self) -> None:
        """Removes them, at most once a second."""
        if time.monotonic() - self._looked_s > INTERVAL_S:
            self._looked_s = time.monotonic()
            self.remove()

    def remove(self) -> None:
        """Removes the placement groups whose creators, the controllers of runs, have died."""
        dead = {actor.actor_id for actor in _controllers() if actor.state == ActorTableData.DEAD}
        for group in [g for g in _groups() if g.creator_actor_id in dead]:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))

    def remove_all(self) -> None:
        """Waits until the controllers of all runs have ended, too."""
        end_s = time.monotonic() + END_LIMIT_S
        while any(a.state != ActorTableData.DEAD for a in _controllers()) and time.monotonic() < end_s:
            time.sleep(INTERVAL_S / 4)
        self.remove()


def _groups() -> list[PlacementGroupTableData]:
    """Placement groups that are there or wait."""
    found = [PlacementGroupTableData.FromString(data) for data in _accessor().get_placement_group_table()]
    return [group for group in found if group.state != PlacementGroupTableData.REMOVED]


def _controllers() -> list[ActorTableData]:
    """Of all Ray Train runs of this job, also those that have ended."""
    job = ray.get_runtime_context().get_job_id()
    found = [ActorTableData.FromString(data) for data in _accessor().get_actor_table(None, None)]
    return [actor for actor in found if actor.class_name == "TrainController" and actor.job_id.hex() == job]


def _accessor() -> Any:
    """Of the session's tables; the public functions leave out who made a placement group."""
    return ray._private.state.state._connect_and_get_accessor()
