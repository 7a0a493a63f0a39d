"""Runs what is missing of a measurement: databases x tasks x seeds x shares of the labels x arms and heads, under one setting.

    python -m benchmarks.tasks.run --data DATA [DATA ...] --setting NAME --seeds 0 1 2 --label-shares 1 0.1
        --arms scratch frozen finetuned untrained none --heads network linear lightgbm lightgbm_on_folds blend trivial --out results

Each finished run becomes one JSON file of `--out` (result_file.py) at once, so an interrupted measurement goes on where it stopped; a file that is
there is never run again, overwritten or dropped. Of the pairs of `--arms` and `--heads`, those are run that exist: every arm with a network has the
head "network" and "finetuned" has "blend", too; the arm "none", which sees no network, has the baselines "trivial" and "lightgbm" and the heads
"linear", "lightgbm_on_folds" and "blend". Seeds are the outermost loop, so whatever was done first is complete for fewer seeds.

Of a setting with `finetuning.refit`, each run gives a second file, whose setting ends in "+refit": the same fitted again on every closed label.

The setting must be committed before a run that looks at test. `--val-only` looks at train and validation alone, for choosing, and wants a folder of
its own, and refits nothing. One thread; several processes may share `--out` and `--work` if their databases differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.tasks.column_arms import BASELINES, NAMES, run_columns
from benchmarks.tasks.database import Database
from benchmarks.tasks.network_arms import run_network
from benchmarks.tasks.outcome import Outcomes, with_shuffled_labels, without_test
from benchmarks.tasks.result_file import (
    ARMS,
    HEADS,
    NETWORK_ARMS,
    REFIT,
    Result,
    RunKey,
    read_results,
    require_same_setting,
    write_result,
)
from benchmarks.tasks.settings import SETTINGS, Setting, read_setting
from benchmarks.tasks.source import commit_of_source, is_committed
from distributed.console import say
from rdl_core.config import Regime

COLUMN_HEADS = (*BASELINES, *NAMES)
BLENDED_ARM = "finetuned"
"""The arm whose network is blended with the heads on columns; a blend trains the network again on each fold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
    """The runs that are to be measured, and where they go.

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
    groups = [list(group) for _, group in itertools.groupby(missing, key=_run_together)]
    for number, group in enumerate(groups):
        database, setting = group[0][0], measurement.setting.of_seed(group[0][1].seed)
        outcomes = run_together(database, [key for _, key in group], measurement)
        for _, key in group:
            outcome = outcomes[key.head, key.setting.endswith(REFIT)]
            result = Result(
                key=key,
                preset=setting.preset,
                val=outcome.val,
                test=None if measurement.val_only else outcome.test,
                metric=outcome.metric,
                predictions=None if measurement.val_only else tuple(outcome.predictions.tolist()),
                steps=outcome.steps,
                seconds=round(outcome.seconds, 1),
                config=dataclasses.asdict(setting),
                commit=commit,
                command=measurement.command,
            )
            write_result(measurement.out, result)
            say(f"{number + 1}/{len(groups)} {described(result)}")
    return len(missing)


def wanted(databases: Sequence[Database], measurement: Measurement) -> Iterator[tuple[Database, RunKey]]:
    """Yields all runs of a measurement, seed by seed, those of one arm together."""
    for name in measurement.tasks or ():
        if not any(name in database.tasks for database in databases):
            known = ", ".join(task for database in databases for task in database.tasks)
            raise ValueError(f"--tasks has {name!r}; the databases have {known}")
    names = [measurement.setting.name]
    if measurement.setting.finetuning.refit and not measurement.val_only:
        names.append(measurement.setting.name + REFIT)
    for seed, share, database in itertools.product(measurement.seeds, measurement.label_shares, databases):
        for task, arm, head, name in itertools.product(database.tasks, measurement.arms, measurement.heads, names):
            if exists(arm, head) and (measurement.tasks is None or task in measurement.tasks):
                key = RunKey(
                    setting=name,
                    database=database.name,
                    task=task,
                    regime=measurement.regime,
                    arm=arm,
                    head=head,
                    label_share=float(share),
                    seed=seed,
                )
                yield database, key


def exists(arm: str, head: str) -> bool:
    """Returns whether an arm has a head."""
    if arm == "none":
        return head in COLUMN_HEADS
    return head == "network" or (arm == BLENDED_ARM and head == "blend")


def run_together(database: Database, keys: Sequence[RunKey], measurement: Measurement) -> Outcomes:
    """Trains and evaluates runs that differ in head and refit alone."""
    key, setting = keys[0], measurement.setting.of_seed(keys[0].seed)
    task, heads = database.tasks[key.task], {key.head for key in keys}
    if setting.shuffled_labels:
        task = with_shuffled_labels(task, key.seed)
    if measurement.val_only:
        task, setting = without_test(task), setting.without_refit()
    if key.arm in NETWORK_ARMS:
        return run_network(database, task, setting, key.arm, key.regime, key.label_share, heads)
    return run_columns(database, task, setting, key.regime, key.label_share, heads)


def _run_together(item: tuple[Database, RunKey]) -> RunKey:
    return dataclasses.replace(item[1], head="", setting="")


def described(result: Result) -> str:
    """Returns a result in a line."""
    key, test = result.key, "" if result.test is None else f", test {result.test:.4f}"
    return (
        f"{key.database} {key.task} {key.arm} {key.head}, {key.label_share:.0%} of the labels, seed {key.seed}: "
        f"val {result.val:.4f}{test} {result.metric}, {result.steps} steps, {result.seconds:.0f} s"
    )


def require_committed_settings() -> None:
    """Raises ValueError if settings.yaml has changes that are not committed: a choice is written down before test is looked at."""
    if not is_committed(SETTINGS):
        raise ValueError(
            f"{SETTINGS.name} has changes that are not committed; a setting is committed before a run looks at test. "
            "Remedy: commit it, or choose with --val-only"
        )


def recorded_command(arguments: Sequence[str]) -> str:
    """Returns the command line with absolute paths cut to their last names, so that results name no machine's folders."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    return shlex.join(["python", "-m", "benchmarks.tasks.run", *words])


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
