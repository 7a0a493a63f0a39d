"""Weights & Biases on rank 0: offline without a key or a way there, the same run after a restart, closed on every way out."""

from __future__ import annotations

import netrc
import os
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
from rdl_core.atomic_write import replace_file

CONNECT_S = 5
"""Seconds that W&B's host has to accept the key."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """The place to which metrics go.

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
    """Returns the W&B id of a run folder: made once, so that a restart continues the same run and a new folder begins another."""
    path = folder / "wandb_id"
    if not path.exists():
        with replace_file(path) as partial:
            partial.write_text(uuid.uuid4().hex[:8])
    return path.read_text()


@contextmanager
def tracking(config: TrackingConfig | None, run_config: Mapping[str, Any]) -> Iterator[wandb.Run]:
    """Yields a W&B run, closed at the end; None (ranks other than 0) gives one that does nothing and leaves nothing."""
    if config is None or not config.enabled:
        yield wandb.init(mode="disabled")
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
        yield run
    finally:
        run.finish()


def tracking_mode() -> str:
    """Returns WANDB_MODE, or "online" if there is a key and W&B's host accepts it, and "offline" if not."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode
    base_url = os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url
    return "online" if _has_key(base_url) and _accepts_key(base_url) else "offline"


@cache
def _accepts_key(base_url: str) -> bool:
    """Asks once per process, and says so if not: `wandb.init` itself would retry for 90 s, fail the run and keep its id in use."""
    try:
        wandb.Api(timeout=CONNECT_S)
    except wandb.Error as error:
        say(f"W&B: {' '.join(str(error).split())}; tracked offline ({base_url}), `wandb sync` takes the run later")
        return False
    return True


def _has_key(base_url: str) -> bool:
    """Returns whether the environment or ~/.netrc has a key for W&B's host; without one, W&B would ask at a terminal."""
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    if os.environ.get("WANDB_API_KEY") or not path.exists():
        return bool(os.environ.get("WANDB_API_KEY"))
    host = urlparse(base_url).hostname
    return host is not None and netrc.netrc(path).authenticators(host) is not None
