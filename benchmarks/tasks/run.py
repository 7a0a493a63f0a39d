"""Runs what is missing of a measurement: databases x tasks x seeds x shares of the labels x arms and heads, under one setting.

    python -m benchmarks.tasks.run --data DATA [DATA ...] --setting NAME --seeds 0 1 2 --label-shares 1 0.1
        --arms scratch frozen finetuned untrained none --heads network linear lightgbm blend trivial --out results

Each finished run becomes one JSON file of `--out` (result_file.py) at once, so an interrupted measurement goes on where it stopped; a file that is
there is never run again, overwritten or dropped. Arms with a network have the heads "network" and "blend"; the arm "none", which sees no network,
has "linear", "lightgbm", "blend" and "trivial"; of the pairs of `--arms` and `--heads`, those are run. Seeds are the outermost loop, so whatever was
done first is complete for fewer seeds.

The setting must be committed before a run that looks at test. `--val-only` looks at train and validation alone, for choosing, and wants a folder of
its own. One thread; several processes may share `--out` and `--work` if their databases differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.tasks.column_arms import run_trivial
from benchmarks.tasks.database import Database
from benchmarks.tasks.network_arms import run_network
from benchmarks.tasks.outcome import Outcome
from benchmarks.tasks.result_file import (
    ARMS,
    HEADS,
    NETWORK_ARMS,
    Result,
    RunKey,
    read_results,
    require_same_setting,
    write_result,
)
from benchmarks.tasks.settings import SETTINGS, Setting, read_setting
from distributed.console import say
from rdl_core.config import Regime

REPOSITORY = Path(__file__).resolve().parents[2]
NETWORK_HEADS, COLUMN_HEADS = ("network",), ("trivial",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is to be measured, and where it goes.

    Args:
        setting: The configuration of all runs.
        seeds, label_shares, arms, heads: All combinations that exist are run.
        tasks: Names of tasks. None: all entity tasks of each database.
        regime: "rolling" or "snapshot".
        val_only: Whether test is left alone.
        out: Folder of results.
        command: The command line, for the results.
    """

    setting: Setting
    seeds: Sequence[int]
    label_shares: Sequence[float]
    arms: Sequence[str]
    heads: Sequence[str]
    out: Path
    tasks: Sequence[str] | None = None
    regime: Regime = "rolling"
    val_only: bool = False
    command: str = ""


def run_missing(databases: Sequence[Database], measurement: Measurement, say: Callable[[str], None]) -> int:
    """Runs what `measurement.out` lacks; returns how many runs that were.

    Raises:
        ValueError: The folder holds results of the setting's name with another configuration, or results that look at test beside such that do not;
            or a task does not exist.
    """
    there = read_results([measurement.out])
    require_same_setting(there, measurement.setting)
    if any((result.test is None) != measurement.val_only for result in there):
        raise ValueError(
            f"{measurement.out} holds results {'that looked at test' if measurement.val_only else 'of --val-only'}; "
            "both must not lie in one folder. Remedy: another --out"
        )
    done, commit = {result.key for result in there}, commit_of_source()
    missing = [(database, key) for database, key in wanted(databases, measurement) if key not in done]
    for number, (database, key) in enumerate(missing):
        outcome = run_one(database, key, measurement)
        setting = measurement.setting.of_seed(key.seed)
        result = Result(
            key=key,
            preset=setting.preset,
            val=outcome.val,
            test=outcome.test,
            metric=outcome.metric,
            predictions=None if outcome.predictions is None else tuple(outcome.predictions.tolist()),
            steps=outcome.steps,
            seconds=round(outcome.seconds, 1),
            config=dataclasses.asdict(setting),
            commit=commit,
            command=measurement.command,
        )
        write_result(measurement.out, result)
        say(f"{number + 1}/{len(missing)} {described(result)}")
    return len(missing)


def wanted(databases: Sequence[Database], measurement: Measurement) -> Iterator[tuple[Database, RunKey]]:
    """Yields all runs of a measurement, seed by seed."""
    for name in measurement.tasks or ():
        if not any(name in database.tasks for database in databases):
            known = ", ".join(task for database in databases for task in database.tasks)
            raise ValueError(f"--tasks has {name!r}; the databases have {known}")
    pairs = [(arm, head) for arm in measurement.arms for head in measurement.heads if exists(arm, head)]
    for seed in measurement.seeds:
        for share in measurement.label_shares:
            for database in databases:
                for task in database.tasks:
                    if measurement.tasks is not None and task not in measurement.tasks:
                        continue
                    for arm, head in pairs:
                        yield (
                            database,
                            RunKey(
                                setting=measurement.setting.name,
                                database=database.name,
                                task=task,
                                regime=measurement.regime,
                                arm=arm,
                                head=head,
                                label_share=float(share),
                                seed=seed,
                            ),
                        )


def exists(arm: str, head: str) -> bool:
    """Whether an arm has a head."""
    return head in (NETWORK_HEADS if arm in NETWORK_ARMS else COLUMN_HEADS)


def run_one(database: Database, key: RunKey, measurement: Measurement) -> Outcome:
    """Trains and evaluates one run."""
    setting, task = measurement.setting.of_seed(key.seed), database.tasks[key.task]
    if key.head == "network":
        return run_network(database, task, setting, key.arm, key.regime, key.label_share, val_only=measurement.val_only)
    return run_trivial(database, task, setting, key.regime, key.label_share, val_only=measurement.val_only)


def described(result: Result) -> str:
    """Returns a result in a line."""
    key, test = result.key, "" if result.test is None else f", test {result.test:.4f}"
    return (
        f"{key.database} {key.task} {key.arm} {key.head}, {key.label_share:.0%} of the labels, seed {key.seed}: "
        f"val {result.val:.4f}{test} {result.metric}, {result.steps} steps, {result.seconds:.0f} s"
    )


def commit_of_source() -> str:
    """Returns the commit of this source, with "-dirty" if tracked files have changes."""
    return _git("rev-parse", "--short=12", "HEAD") + ("-dirty" if _git("status", "--porcelain", "-uno") else "")


def require_committed_settings() -> None:
    """Raises ValueError if settings.yaml has changes that are not committed: a choice is written down before test is looked at."""
    if _git("status", "--porcelain", "--", str(SETTINGS)):
        raise ValueError(
            f"{SETTINGS.name} has changes that are not committed; a setting is committed before a run looks at test. "
            "Remedy: commit it, or choose with --val-only"
        )


def recorded_command(arguments: Sequence[str]) -> str:
    """Returns the command line with absolute paths cut to their last names, so that results name no machine's folders."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    return shlex.join(["python", "-m", "benchmarks.tasks.run", *words])


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.strip()


def main() -> None:
    """Runs what is missing and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="dataset folders")
    parser.add_argument("--setting", required=True, help="name of a configuration in settings.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--label-shares", type=float, nargs="+", default=[1.0])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--tasks", nargs="+", help="names of tasks (default: all entity tasks)")
    parser.add_argument("--regime", choices=("rolling", "snapshot"), default="rolling")
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--work", type=Path, default=Path("runs/tasks"), help="folder of stores and backbones")
    parser.add_argument("--val-only", action="store_true", help="leave test alone")
    options = parser.parse_args()
    if not options.val_only:
        require_committed_settings()
    torch.set_num_threads(1)  # a figure must not depend on a machine's cores
    measurement = Measurement(
        setting=read_setting(options.setting),
        command=recorded_command(sys.argv[1:]),
        **{
            name: getattr(options, name)
            for name in ("seeds", "label_shares", "arms", "heads", "out", "tasks", "regime", "val_only")
        },
    )
    begun = time.perf_counter()
    databases = [Database(data, options.work, say) for data in options.data]
    number = run_missing(databases, measurement, say)
    say(f"{number} runs in {time.perf_counter() - begun:.0f} s; results in {options.out}")


if __name__ == "__main__":
    main()
