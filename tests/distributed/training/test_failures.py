"""What ends a run, what is tried again, and what people read."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray.exceptions
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from distributed.runs.commits import committed_checkpoint, committed_step
from distributed.runs.journal import Journal
from distributed.training.controller_callbacks import GiveUp
from distributed.training.failures import (
    MAX_FAILURES_WITHOUT_PROGRESS,
    RunFailedError,
    add_place,
    first_error,
    last_screen,
    never_passes,
)
from rdl_core.graph.store import Store, open_store
from tests.distributed.small_runs import run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
LIMIT_S = 60.0
LOST = RuntimeError("[connection_pair.cc:144] Connection closed by peer [127.0.0.1]:32001")


def dead_worker() -> Exception:
    return WorkerHealthCheckFailedError("Worker 1 is dead", failure=ray.exceptions.ActorDiedError())


# --------------------------------------------------------------------------------------------------- what is decided


def test_the_rank_that_failed_first_is_named_before_those_that_lost_it() -> None:
    assert first_error({0: LOST, 1: FloatingPointError("nan"), 2: LOST})[0] == 1
    assert first_error({0: LOST, 1: LOST})[0] == 0


@pytest.mark.parametrize(
    ("error", "never"),
    [
        (FloatingPointError("nan"), True),
        (ValueError("of another run"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (PermissionError(errno.EACCES, "read only"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (RuntimeError("no one knows"), False),
        (LOST, False),
        (dead_worker(), False),
    ],
)
def test_errors_of_our_code_never_pass_and_those_of_machines_may(error: Exception, never: bool) -> None:
    assert never_passes(error) is never


def test_an_error_that_comes_twice_at_a_step_ends_the_run_at_the_second_time(tmp_path: Path) -> None:
    callback = GiveUp(tmp_path)
    callback.after_exception(None, {1: RuntimeError("no one knows")})
    with pytest.raises(
        RunFailedError, match="(?s)^rank 1: RuntimeError: no one knows.*last good checkpoint is of step 0"
    ):
        callback.after_exception(None, {1: RuntimeError("no one knows")})
    assert [e["error"] for e in Journal(tmp_path).events("failure")] == ["RuntimeError: no one knows"] * 2


@pytest.mark.parametrize("error", [LOST, dead_worker()], ids=["lost connection", "dead worker"])
def test_machines_may_fail_several_times_without_progress_but_not_for_ever(tmp_path: Path, error: Exception) -> None:
    callback = GiveUp(tmp_path)
    for _ in range(MAX_FAILURES_WITHOUT_PROGRESS - 1):
        callback.after_exception(None, {0: error})
    with pytest.raises(
        RunFailedError, match=f"{MAX_FAILURES_WITHOUT_PROGRESS} failures in a row without a new checkpoint"
    ):
        callback.after_exception(None, {0: error})


def test_the_last_screen_begins_with_the_failing_ranks_error_and_says_where() -> None:
    try:
        raise FloatingPointError("loss is nan")
    except FloatingPointError as error:
        add_place(error, 1, 7, traceback.extract_tb(error.__traceback__)[-1])
        failure = WorkerGroupError("long text of Ray", {0: LOST, 1: error})
    lines = last_screen(failure).splitlines()
    assert lines[0] == "rank 1: FloatingPointError: loss is nan"
    assert lines[1].startswith("raised on rank 1 after step 7, at test_failures.py:")
    assert last_screen(ControllerError(RunFailedError("rank 3: all of it"))) == "rank 3: all of it"


# ------------------------------------------------------------------------------------------------ whole runs that fail


def failing(store: Store, folder: Path, **changes: object) -> tuple[str, float]:
    """(what people read, seconds from the failure to the end of the run)."""
    with pytest.raises(TrainingFailedError) as caught:
        run(store, folder, workers=2, **changes)
    text = last_screen(caught.value)
    failures = Journal(folder).events("failure")
    begun_s = failures[0]["time_s"] if failures else time.time()
    assert len(failures) <= 1, "tried again in vain"
    return text, time.time() - begun_s


@pytest.mark.ray
def test_a_loss_that_is_not_finite_ends_the_run_at_once_and_names_it(
    ray_session: None, nasty_store: Store, tmp_path: Path
) -> None:
    text, seconds = failing(nasty_store, tmp_path / "nan", learning_rate=1e30, gradient_clip_norm=None)
    assert re.match("rank [01]: FloatingPointError: pretraining loss is not finite", text), text
    assert re.search("raised on rank [01] after step", text)
    assert seconds < LIMIT_S
    checkpoint = committed_checkpoint(tmp_path / "nan" / "train")
    assert checkpoint is not None
    assert {p.suffix for p in checkpoint.iterdir()} == {".json", ".safetensors"}


@pytest.mark.ray
def test_a_rank_that_throws_ends_the_run_though_the_other_waits_for_it(
    ray_session: None, nasty_store: Store, tmp_path: Path
) -> None:
    """Only rank 0 opens the run's W&B folder, whose place is taken by a file."""
    folder = tmp_path / "throws"
    folder.mkdir()
    (folder / "wandb").write_text("in the way")
    text, seconds = failing(nasty_store, folder)
    assert text.startswith("rank 0: "), text
    assert seconds < LIMIT_S


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; skips where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.ray
def test_a_full_disk_ends_the_run_with_its_name_and_the_last_checkpoint_whole(
    ray_session: None, nasty_store: Store, small_disk: Path
) -> None:
    folder = small_disk / "full"
    text, seconds = failing(nasty_store, folder, num_to_keep=1000, interval_steps=1)
    assert "No space left on device" in text
    assert seconds < LIMIT_S
    checkpoint = committed_checkpoint(folder / "train")
    assert checkpoint is not None
    assert 0 < committed_step(folder / "train") < 16
    committed = [event["step"] for event in Journal(folder).events("committed")]
    assert committed == list(range(len(committed))), "each checkpoint's own step, also between validations"
    names = {"run.json", "state.json", "model.safetensors", "best.safetensors", "optimizer.safetensors"}
    assert {p.name for p in checkpoint.iterdir()} == names


@pytest.mark.ray
def test_a_sampler_that_throws_ends_the_run_at_once_and_its_own_error_is_read(
    ray_session: None, nasty_store: Store, tmp_path: Path
) -> None:
    """The store goes away after the workers have opened it and before the first sampling task does."""
    folder, path = tmp_path / "run", tmp_path / nasty_store.path.name
    shutil.copytree(nasty_store.path, path)

    def take_store_away() -> None:
        while not Journal(folder).events("resumed"):
            time.sleep(0.005)
        path.rename(tmp_path / "away")

    thread = threading.Thread(target=take_store_away, daemon=True)
    thread.start()
    text, seconds = failing(open_store(path), folder)
    assert re.match("rank [01]: SamplingFailedError: FileNotFoundError: no REG store at ", text), text
    assert seconds < LIMIT_S
