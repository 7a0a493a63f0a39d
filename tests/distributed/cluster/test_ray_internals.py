"""Each private part of Ray that we use is there and does what ray_internals.py says of it."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions
import ray.train.torch
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
from ray.train.v2._internal.exceptions import RayTrainError, WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2.api.exceptions import ControllerError
from ray.tune.schedulers import ASHAScheduler

from distributed.cluster import ray_internals
from distributed.cluster.ray_internals import (
    INNER_ERRORS,
    SNAPSHOT,
    Snapshot,
    fill_rungs,
    fit,
    read_snapshot,
    rename_in_rungs,
    startup_errors,
)


def test_another_version_of_ray_is_refused_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.61.0")
    monkeypatch.delitem(sys.modules, ray_internals.__name__)
    with pytest.raises(ImportError, match=r"expected Ray 2\.60, .* got 2\.61\.0.\n.*constraints.txt"):
        importlib.import_module(ray_internals.__name__)


def test_a_fit_has_our_handler_of_ctrl_c_and_no_cleaner_and_gives_the_old_handler_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = ray.train.torch.TorchTrainer(lambda: None)
    assert any(isinstance(c, PlacementGroupCleanerCallback) for c in trainer._create_default_callbacks())
    assert callable(TrainController.abort)
    seen: dict[str, Any] = {}

    class Controller:
        """Ends itself when it is told to, as Ray Train's does."""

        class abort:  # noqa: N801
            @staticmethod
            def remote() -> ray.ObjectRef:
                seen["aborted"] = seen.get("aborted", 0) + 1
                raise ray.exceptions.RayActorError

    def ray_fit(self: ray.train.torch.TorchTrainer) -> None:
        seen["callbacks"] = self._create_default_callbacks()
        self._register_sigint_handler(Controller)  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ray.train.torch.TorchTrainer, "fit", ray_fit)
    before = signal.getsignal(signal.SIGINT)
    fit(trainer)
    assert seen["aborted"] == 1
    assert seen["callbacks"]
    assert not any(isinstance(c, PlacementGroupCleanerCallback) for c in seen["callbacks"])
    assert signal.getsignal(signal.SIGINT) == before


def test_the_snapshot_is_read_as_ray_writes_it(tmp_path: Path) -> None:
    assert SNAPSHOT == CHECKPOINT_MANAGER_SNAPSHOT_FILENAME
    assert read_snapshot(tmp_path) is None
    results = [{"checkpoint_dir_name": name, "metrics": {}} for name in ("checkpoint_1", "checkpoint_2")]
    rest: dict[str, Any] = {
        name: [] for name, field in _CheckpointManagerState.model_fields.items() if field.is_required()
    }
    for newest, found in ((None, None), (results[-1], "checkpoint_2")):
        state = _CheckpointManagerState(
            **{**rest, "checkpoint_results": results, "latest_checkpoint_result": newest, "current_report_index": 0}
        )
        (tmp_path / SNAPSHOT).write_text(state.model_dump_json())
        assert read_snapshot(tmp_path) == Snapshot(found, frozenset({"checkpoint_1", "checkpoint_2"}))
    whole = json.loads((tmp_path / SNAPSHOT).read_text())
    (tmp_path / SNAPSHOT).write_text(json.dumps(whole)[:-5])
    assert read_snapshot(tmp_path) is None


def test_rays_exceptions_hold_the_error_behind_them() -> None:
    error = ValueError("a wrong row")
    wrapped = [
        ray.exceptions.RayTaskError("f", "Traceback", error),
        WorkerHealthCheckFailedError("unhealthy", error),
        ControllerError(error),
    ]
    assert [getattr(w, name) for w, name in zip(wrapped, INNER_ERRORS, strict=True)] == [error] * 3
    assert all(issubclass(kind, RayTrainError) for kind in startup_errors())


def test_filled_rungs_stop_a_trial_as_if_the_results_had_come_in_this_session() -> None:
    """With a reduction factor of 2, the worse half of a rung is stopped."""

    def scheduler() -> ASHAScheduler:
        return ASHAScheduler(
            time_attr="step", metric="loss", mode="min", grace_period=10, max_t=100, reduction_factor=2
        )

    class Trial:
        trial_id = "late"

    def decision(filled: list[tuple[str, float]]) -> str:
        asha = scheduler()
        for trial, loss in filled:
            fill_rungs(asha, trial, 10, -loss)
        late: Any = Trial()
        asha.on_trial_add(None, late)  # type: ignore[arg-type]
        return asha.on_trial_result(None, late, {"step": 10, "loss": 2.0})  # type: ignore[arg-type]

    assert decision([]) == "CONTINUE"
    assert decision([("a", 1.0), ("b", 1.5), ("c", 3.0)]) == "STOP"
    assert decision([("a", 3.0), ("b", 2.5), ("c", 1.0)]) == "CONTINUE"


def test_a_trial_under_a_new_id_has_one_place_in_the_rungs() -> None:
    asha = ASHAScheduler(time_attr="step", metric="loss", mode="min", grace_period=10, max_t=100, reduction_factor=2)
    fill_rungs(asha, "old", 10, -1.0)
    rename_in_rungs(asha, "old", "new")
    assert [dict(recorded) for milestone, recorded in asha._brackets[0]._rungs if milestone == 10] == [{"new": -1.0}]
