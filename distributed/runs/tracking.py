"""Weights & Biases on rank 0: offline without a key or a way there, the same run after a restart, closed on every way out."""

from __future__ import annotations

import netrc
import os
import socket
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb

from distributed.console import say

CONNECT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where metrics go.

    Args:
        directory: W&B's folder is made in it.
        run_id: The same id continues the same run.
        name, project: As shown.
        group: Runs that belong together.
        enabled: False: no tracking.
    """

    directory: str
    run_id: str
    name: str
    project: str = "relational-pretraining"
    group: str | None = None
    enabled: bool = True


def run_id(folder: Path) -> str:
    """The W&B id of a run folder: made once, so that a restart continues the same run and a new folder begins another."""
    path = folder / "wandb_id"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(uuid.uuid4().hex[:8])
        partial.replace(path)
    return path.read_text()


class Tracker:
    """Logs to a W&B run; without one, does nothing."""

    def __init__(self, run: wandb.Run | None) -> None:
        self._run = run

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Metrics of a step."""
        if self._run is not None:
            self._run.log(dict(metrics), step=step)

    def summarize(self, values: Mapping[str, Any]) -> None:
        """What the run came to."""
        if self._run is not None:
            self._run.summary.update(dict(values))


@contextmanager
def tracking(config: TrackingConfig | None, run_config: Mapping[str, Any]) -> Iterator[Tracker]:
    """A tracker; None (ranks other than 0) gives one that does nothing."""
    if config is None or not config.enabled:
        yield Tracker(None)
        return
    Path(config.directory).mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=config.project,
        id=config.run_id,
        name=config.name,
        group=config.group,
        dir=config.directory,
        resume="allow",
        mode=tracking_mode(),  # type: ignore[arg-type]
        reinit="create_new",  # a sweep has several runs open at a time
        config=dict(run_config),
        settings=wandb.Settings(silent=True, console="off"),
    )
    try:
        yield Tracker(run)
    finally:
        run.finish()


def tracking_mode() -> str:
    """WANDB_MODE, or "online" if there is a key and somebody answers, and "offline" if not."""
    return os.environ.get("WANDB_MODE") or ("online" if _has_key() and _is_reachable(_base_url()) else "offline")


@cache
def _is_reachable(base_url: str) -> bool:
    """Whether W&B's host takes connections; asked and said once a process, and not with a proxy. (W&B itself would wait 90 s and fail the run.)"""
    url = urlparse(base_url)
    if urllib.request.getproxies().get(url.scheme):
        return True
    try:
        socket.create_connection(
            (url.hostname or "", url.port or (443 if url.scheme == "https" else 80)), CONNECT_S
        ).close()
    except OSError as error:
        say(f"W&B: {base_url} cannot be reached ({error}); tracked offline, `wandb sync` takes the run later")
        return False
    return True


def _base_url() -> str:
    return os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url


def _has_key() -> bool:
    """Whether the environment or ~/.netrc has a key for W&B's host; keys for other hosts are none."""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    if os.environ.get("WANDB_API_KEY") or not path.exists():
        return bool(os.environ.get("WANDB_API_KEY"))
    host = urlparse(_base_url()).hostname
    return host is not None and netrc.netrc(path).authenticators(host) is not None
