"""The commands `rdl task new` and `rdl task check`: their options, which load nothing heavy, and where their work is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distributed.commands.command_line import Command
from distributed.commands.shared_options import RunOptions, StoreOptions, require_positive


@dataclass(frozen=True, kw_only=True)
class Question:
    """The question of a new task, in the words of the command line."""

    entity: str
    """Table whose rows are asked about."""
    target: str
    """The thing that is asked of the rows in the window, such as "COUNT(orders) = 0"."""
    window: str
    """The time that a label looks ahead: 60d, 12h."""
    where: str | None = None
    """Only rows of the target's table for which this condition is true, in SQL, on its own columns."""
    active_within: str | None = None
    """Only entities that had such a row within this time before they are asked: 90d. Default: all that are there."""
    via: tuple[str, ...] = ()
    """Foreign keys, as table.column, by which rows belong to entities, where there are several ways."""
    name: str | None = None
    """Name of the task, for --task. Default: made of the question."""
    num_eval_timestamps: int = 1
    """Seed times of val and of test, one every window."""

    def __post_init__(self) -> None:
        require_positive(self, "num_eval_timestamps")


@dataclass(frozen=True, kw_only=True)
class NewTask(RunOptions, Question):
    """A question in a line to a task with leak-free SQL and its labels, in the folder of an imported dataset.

    Windows begin strictly after a seed time and end with it: (time, time + window]. Rows belong to entities along foreign keys.

        rdl task new --data shop --entity customers --target "COUNT(orders) = 0" --window 60d --active-within 90d --name churn
        rdl task new --data shop --entity customers --target "SUM(order_lines.price)" --window 60d
        rdl task new --data shop --entity customers --target "MODE(events.kind)" --window 30d --where "product_id IS NOT NULL"

    Targets: COUNT(table), EXISTS(table), SUM, AVG, MIN, MAX, MODE and NEXT of table.column; with a comparison behind them they are yes or no. A
    number makes a regression task, yes or no a binary one, a text and the MODE of whole numbers a multi-class one."""

    data: str | None = None
    """An imported dataset: a folder with manifest.yaml, or the name of one below RDL_DATA, data or ../shared/data. Default: the only one there."""
    replace: bool = False
    """Make a task of this name again."""
    out: Path | None = None
    """Write the task's YAML into this file instead, without labels: for `rdl import --tasks FOLDER`."""


@dataclass(frozen=True, kw_only=True)
class CheckTask(StoreOptions):
    """The worth of a task's labels before anything is trained: balance, labels over time, leakage, baselines; warnings in words.

    Writes check.png and report.txt into its run folder. With --baseline, LightGBM on all generated columns is fitted, too, for which the store is
    made if it is not there yet:

        rdl task check --data shop --task churn
        rdl task check --data shop --task churn --baseline"""

    task: str
    """Name of a task of the database."""
    baseline: bool = False
    """Fit LightGBM on generated columns, and score it beside the trivial prediction."""


COMMANDS: dict[str, Command] = {
    "task new": Command(options=NewTask, runner="distributed.tasks.run:run_new_task"),
    "task check": Command(options=CheckTask, runner="distributed.tasks.run:run_check_task"),
}
