"""Weights & Biases' real client, offline: what it leaves on disk, after one start, a second one and a failure."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from distributed.runs.tracking import CONNECT_S, TrackingConfig, tracking
from tests.wandb_files import logged, records

CONFIG = {"max_steps": 7, "backbone": {"channels": 16}}


@pytest.fixture(autouse=True)
def without_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key in the environment, none at home."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def config(folder: Path) -> TrackingConfig:
    return TrackingConfig(directory=str(folder / "run"), run_id="run-7", name="seventh", group="sevens")


def log_files(folder: Path) -> list[Path]:
    return sorted((folder / "run" / "wandb").glob("offline-run-*/run-*.wandb"))


def kinds(path: Path) -> set[str]:
    return {record.WhichOneof("record_type") for record in records(path)}


def test_metrics_and_configuration_are_in_the_file_of_an_offline_run(tmp_path: Path) -> None:
    with tracking(config(tmp_path), CONFIG) as tracker:
        for step in (1, 2, 3):
            tracker.log({"train/row": 1.0 / step, "rows/équipe": step * 10}, step)
    (path,) = log_files(tmp_path)
    assert logged(path) == [{"_step": s, "train/row": 1.0 / s, "rows/équipe": s * 10} for s in (1, 2, 3)]
    (run,) = [r.run for r in records(path) if r.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.display_name, run.run_group, run.project) == (
        "run-7",
        "seventh",
        "sevens",
        "relational-pretraining",
    )
    found = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {k: found[k] for k in CONFIG} == CONFIG
    assert "exit" in kinds(path)


def test_a_second_start_continues_the_same_run(tmp_path: Path) -> None:
    for step in (1, 2):
        with tracking(config(tmp_path), CONFIG) as tracker:
            tracker.log({"train/row": float(step)}, step)
        time.sleep(1.1)  # W&B names an offline folder by the second of its start; a real restart takes longer
    files = set(log_files(tmp_path))
    found = [row for path in files for row in logged(path)]
    assert sorted(found, key=lambda row: row["_step"]) == [{"_step": s, "train/row": float(s)} for s in (1, 2)]
    assert {r.run.run_id for path in files for r in records(path) if r.WhichOneof("record_type") == "run"} == {"run-7"}


def test_a_run_is_closed_when_its_body_fails(tmp_path: Path) -> None:
    def body() -> None:
        with tracking(config(tmp_path), CONFIG) as tracker:
            tracker.log({"train/row": 0.5}, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    (path,) = log_files(tmp_path)
    assert logged(path) == [{"_step": 1, "train/row": 0.5}]
    assert "exit" in kinds(path)


def test_tracking_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with tracking(config(tmp_path), CONFIG) as tracker:
        tracker.log({"train/row": 0.5}, 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("is_other_rank", [True, False])
def test_disabled_tracking_and_other_ranks_leave_nothing(tmp_path: Path, is_other_rank: bool) -> None:
    disabled = TrackingConfig(directory=str(tmp_path / "run"), run_id="x", name="x", enabled=False)
    with tracking(None if is_other_rank else disabled, CONFIG) as tracker:
        tracker.log({"train/row": 0.5}, 1)
    assert not (tmp_path / "run").exists()


def test_a_key_for_another_host_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "home" / ".netrc").write_text("machine github.com login me password secret\n")
    (tmp_path / "home" / ".netrc").chmod(0o600)
    with tracking(config(tmp_path), CONFIG) as tracker:
        tracker.log({"train/row": 0.5}, 1)
    assert len(log_files(tmp_path)) == 1


def test_offline_mode_asked_for_holds_even_with_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "offline")
    with tracking(config(tmp_path), CONFIG) as tracker:
        tracker.log({"train/row": 0.5}, 1)
    assert len(log_files(tmp_path)) == 1


@contextmanager
def host(answer: int | None) -> Iterator[str]:
    """The URL of a host that gives every request this HTTP status; None: it takes connections and says nothing."""
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if answer is None:
                is_over.wait()
                return
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            is_over.set()
            server.shutdown()


@contextmanager
def closed_port() -> Iterator[str]:
    with socket.socket() as closed:  # bound and not listening: nobody answers there
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.parametrize(
    "there",
    [lambda: host(401), lambda: host(403), lambda: host(None), closed_port],
    ids=["wrong key", "forbidden", "silent", "unreachable"],
)
def test_a_run_that_wandb_does_not_take_goes_on_offline_under_its_id_with_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    there: Callable[[], AbstractContextManager[str]],
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with there() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        begun_s = time.monotonic()
        for _ in range(2):  # the second is a trial of the same sweep
            with tracking(config(tmp_path), CONFIG) as tracker:
                tracker.log({"loss": 1.0}, 1)
        assert time.monotonic() - begun_s < 4 * CONNECT_S  # on a busy machine; 10 s at most on an idle one
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B:")]
    assert f"tracked offline ({url})" in line
    assert {path.name for path in log_files(tmp_path)} == {"run-run-7.wandb"}
