"""The pictures and tables that people look at: curves and schema as PNG, tables in the terminal."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import networkx
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from distributed.console import console, say
from distributed.finetuning.verdict import figure_text, mean_and_error, standard_error
from distributed.pictures import plt, save_figure
from rdl_core.config import PRETRAINING_LEVELS
from rdl_core.evidence import is_higher_better
from rdl_core.graph.existence import existence_rules
from rdl_core.graph.schema import TableSchema
from rdl_core.graph.store import Store
from rdl_core.pretraining.state import TrainState
from rdl_core.sampling.balance import Balance
from rdl_core.tasks.finetuning_result import FinetuningResult

ARMS = ("scratch", "frozen", "finetuned")


def draw_curves(state: TrainState, path: Path) -> Path:
    """Draws the loss per level that is on (1.0 is chance) and effective rank over the validations of a run, as a PNG."""
    steps = [entry["step"] for entry in state.history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), constrained_layout=True)
    for level in PRETRAINING_LEVELS:
        if not any(f"validation/{level}" in entry for entry in state.history):
            continue
        losses = [entry.get(f"validation/{level}", math.nan) for entry in state.history]
        left.plot(steps, losses, marker=".", label=level)
    left.axhline(1.0, color="grey", linewidth=0.8, linestyle="--")
    left.set(xlabel="step", ylabel="validation loss / chance", ylim=(0, None), title="levels of the loss")
    left.legend()
    right.plot(steps, [entry["effective_rank"] for entry in state.history], marker=".", color="black")
    right.set(xlabel="step", ylabel="effective rank", ylim=(0, None), title="collapse watch")
    return save_figure(figure, path)


def show_store(store: Store) -> None:
    """Prints the cutoff; one line per table: rows, attributes by semantic type, from when its rows exist; and what was left out."""
    table = Table(title=f"{store.schema.database}: {store.path.name}", title_justify="left", box=SIMPLE_HEAD)
    for name in ("table", "rows", "≤ cutoff", "attributes", "a row exists from"):
        table.add_column(name, justify="right" if name in ("rows", "≤ cutoff") else "left")
    rules = row_existence(store)
    for name, schema in store.schema.tables.items():
        attributes = "\n".join(
            f"{stype}: {', '.join(c.name for c in schema.columns if c.stype == stype)}"
            for stype in dict.fromkeys(c.stype for c in schema.columns)
        )
        table.add_row(name, f"{schema.num_rows:,}", f"{schema.num_rows_up_to_cutoff:,}", attributes, rules[name])
    console.print(table)
    cutoff = datetime.fromtimestamp(store.schema.cutoff_s, UTC)
    say(
        f"cutoff     {cutoff:%Y-%m-%d %H:%M:%S} UTC, the validation timestamp: types, statistics and pretraining see rows up to it"
    )
    for name, schema in store.schema.tables.items():
        for column, why in schema.left_out.items():
            console.print(f"left out: {name}.{column}, {why}", highlight=False, markup=False)
        for column, time in schema.known_from.items():
            console.print(f"late cells: {name}.{column}, known from {time}", highlight=False, markup=False)
    for key in store.late_keys.values():
        console.print(f"late key: {key['line']}", highlight=False, markup=False)


def row_existence(store: Store) -> dict[str, str]:
    """Returns from when on the rows of each table exist, in words."""
    tables = store.schema.tables
    dated = [t for t, s in tables.items() if s.time_col is not None]
    if store.schema.timeless_rows == "always":
        return {t: "its time column" if t in dated else "always there" for t in tables}
    dating = [e for e in store.graph.edge_types if not store.late_keys.get(f"{e[0]}.{e[1]}", {}).get("is_left_out")]
    return existence_rules(list(tables), dating, dated)


def show_results(results: Sequence[FinetuningResult]) -> None:
    """Prints one row per task and arm: mean ± standard error over its seeds on validation and test, seconds; ◀ marks the best on val.

    A figure of few labels has its interval, and the trivial prediction of each task is in the row below.
    """
    seeds = len({r.seed for r in results})
    table = Table(
        title=f"fine-tuning, {results[0].regime}, {seeds} seed{'s' * (seeds > 1)}",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("task", "metric", "arm", "val", "test", "s"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("val", "test", "s") else "left")
    for task in dict.fromkeys(r.task for r in results):
        mine = [r for r in results if r.task == task]
        best = best_arm(mine)
        for arm in (a for a in ARMS if any(r.arm == a for r in mine)):
            runs = [r for r in mine if r.arm == arm]
            metric = f"{runs[0].metric} {'↑' if is_higher_better(runs[0].metric) else '↓'}"
            val, test = (figure_text([dataclasses.asdict(r) for r in runs], split) for split in ("val", "test"))
            seconds = f"{statistics.mean(r.seconds for r in runs):.0f}"
            table.add_row(task, metric, f"{arm} ◀" if arm == best else arm, val, test, seconds)
        for name, figures in mine[0].baselines.items():
            shown = [mean_and_error([figures[split]], is_few=split in mine[0].labels) for split in ("val", "test")]
            table.add_row(task, metric, name, *shown, "")
        table.add_section()
    console.print(table)
    for task, what in {r.task: r.about["baseline trivial"] for r in results if r.about}.items():
        say(f"trivial prediction of {task}: {what}")


def show_heads(runs: Sequence[Mapping[str, Any]]) -> None:
    """Prints one row per baseline and head: mean ± standard error over the runs' seeds, settings of one run; ◀ marks the best head on validation.

    Args:
        runs: Results of `finetune`, one per seed.
    """
    first = runs[0]
    splits = [split for split in ("val", "test", "test_refit") if split in first["heads"]["network"]]
    table = Table(
        title=f"{first['task']}, {first['regime']}, heads beside the network", title_justify="left", box=SIMPLE_HEAD
    )
    for name in ("head", "metric", *(split.replace("_", ", ") for split in splits), "settings"):
        table.add_column(
            name, no_wrap=name != "settings", justify="left" if name in ("head", "metric", "settings") else "right"
        )
    sign = 1 if is_higher_better(first["metric"]) else -1
    best = max(first["heads"], key=lambda head: sign * statistics.mean(run["heads"][head]["val"] for run in runs))
    for kind in ("baselines", "heads"):
        for name in first[kind]:
            shown = f"baseline {name}" if kind == "baselines" else name
            figures = [mean_and_error([run[kind][name][split] for run in runs]) for split in splits]
            metric = f"{first['metric']} {'↑' if sign == 1 else '↓'}"
            about = first["about"][shown] if len(runs) == 1 else ""
            table.add_row(f"{shown} ◀" if kind == "heads" and name == best else shown, metric, *figures, about)
        table.add_section()
    console.print(table)


def best_arm(results: Sequence[FinetuningResult]) -> str:
    """Returns the arm with the best mean validation metric of one task's runs."""
    sign = 1 if is_higher_better(results[0].metric) else -1
    arms = {r.arm for r in results}
    return max(arms, key=lambda arm: sign * statistics.mean(r.val for r in results if r.arm == arm))


def seeds_summary(results: Sequence[FinetuningResult]) -> dict[str, Any]:
    """Returns {"metric", "seeds", "val" and "test": {"mean", "standard_error"}} of one task and arm over its seeds."""
    summary: dict[str, Any] = {"metric": results[0].metric, "seeds": [result.seed for result in results]}
    for split in ("val", "test"):
        summary[split] = _spread([getattr(result, split) for result in results])
    return summary


def heads_summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns {"heads" and "baselines": {name: {split: {"mean", "standard_error"}}}} of several runs; nothing where only the network predicts."""
    return {
        kind: {
            name: {split: _spread([run[kind][name][split] for run in runs]) for split in figures}
            for name, figures in runs[0][kind].items()
        }
        for kind in ("heads", "baselines")
        if kind in runs[0]
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.mean(values), "standard_error": standard_error(values)}


def level_losses(state: TrainState) -> dict[str, list[float]]:
    """Returns {level: [before the first update, final]} on validation, without levels that have no input."""
    names = {level: f"validation/{level}" for level in PRETRAINING_LEVELS}
    return {
        level: [state.first[name], state.last[name]]
        for level, name in names.items()
        if name in state.first and name in state.last
    }


def pretraining_result(checkpoint: Path, state: TrainState, curves: Path, wandb_dir: Path) -> dict[str, Any]:
    """Returns the content of `pretrain`'s result.json."""
    return {
        "checkpoint": str(checkpoint),
        "losses": level_losses(state),
        "effective_rank": state.last["effective_rank"],
        "effective_rank_at_start": state.first["effective_rank"],
        "best": state.best,
        "steps": state.step,
        "best_step": state.best_step,
        "finished": state.finished,
        "seconds": state.seconds,
        "sampled": state.sampled,
        "curves": str(curves),
        "wandb_dir": str(wandb_dir),
    }


def draw_balance(found: Balance, database: str, path: Path) -> Path:
    """Draws rows per table and links per foreign key, per subgraph, by HGSampling beside plain neighbour sampling, as a PNG."""
    tables = sorted(found.hg_sampling.rows, key=lambda t: -found.plain.rows[t])
    keys = sorted(found.hg_sampling.links, key=lambda e: -found.plain.links[e])
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 1.6 + 0.34 * max(len(tables), len(keys))), constrained_layout=True
    )
    plain, ours = found.plain, found.hg_sampling
    _draw_pairs(left, tables, [ours.rows[t] for t in tables], [plain.rows[t] for t in tables], found.samples)
    names = [f"{child}.{fkey_col}" for child, fkey_col, _ in keys]
    _draw_pairs(right, names, [ours.links[e] for e in keys], [plain.links[e] for e in keys], found.samples)
    left.set(xlabel="rows per subgraph", title="rows per table")
    right.set(xlabel="links per subgraph", title="links per foreign key")
    words = (("HGSampling", ours, ""), ("plain neighbour sampling", plain, f", fan-out {found.fan_out:.1f}"))
    labels = [
        f"{name}{how}: {c.num_rows / found.samples:,.0f} rows, spread as over {c.even_tables:.1f} equal tables of {len(tables)}"
        for name, c, how in words
    ]
    handles = left.get_legend_handles_labels()[0]
    figure.suptitle(f"{database}: {found.samples} subgraphs of each from the same seeds", fontsize=11)
    figure.legend(handles, labels, loc="outside lower center", frameon=False)
    return save_figure(figure, path)


def balance_text(found: Balance) -> str:
    """Returns how evenly the rows of either sampler spread over the tables, in a line."""
    tables = len(found.hg_sampling.rows)
    return (
        f"rows of {found.samples} subgraphs spread as over {found.hg_sampling.even_tables:.1f} equal tables of {tables}; "
        f"by plain neighbour sampling over {found.plain.even_tables:.1f}"
    )


def _draw_pairs(axes: Axes, names: Sequence[str], ours: Sequence[int], plain: Sequence[int], samples: int) -> None:
    places = range(len(names))
    for shift, counts, color, label in ((-0.2, ours, "#1f6fb4", "ours"), (0.2, plain, "#c9c9c9", "plain")):
        bars = axes.barh([p + shift for p in places], [n / samples for n in counts], 0.38, color=color, label=label)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
    axes.set_yticks(list(places), names, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)


def draw_schema(store: Store, path: Path) -> Path:
    """Draws the tables and their foreign keys (child → parent) as a PNG; dated tables are filled."""
    graph = networkx.MultiDiGraph()
    graph.add_nodes_from(store.schema.tables)
    graph.add_edges_from((child, parent) for child, _, parent in store.graph.edge_types)
    layers = list(networkx.topological_generations(networkx.DiGraph(networkx.condensation(networkx.DiGraph(graph)))))
    members = networkx.condensation(networkx.DiGraph(graph)).nodes(data="members")
    position: dict[str, tuple[float, float]] = {}
    for x, layer in enumerate(layers):
        names = sorted(name for component in layer for name in members[component])
        position |= {name: (float(x), (len(names) - 1) / 2 - y) for y, name in enumerate(names)}
    tallest = max(len(layer) for layer in layers)
    figure, axes = plt.subplots(figsize=(2.6 * len(layers) + 1, max(2.5, 0.9 * tallest)), constrained_layout=True)
    boxes = {name: _draw_table(axes, store.schema.tables[name], place) for name, place in position.items()}
    for child, _, parent in store.graph.edge_types:
        if child != parent:  # a self reference is written into the box
            ends = {"patchA": boxes[child], "patchB": boxes[parent], "shrinkA": 1, "shrinkB": 1}
            arrow = {"arrowstyle": "-|>", "color": "#777777", "connectionstyle": "arc3,rad=0.06", **ends}
            axes.annotate("", xy=position[parent], xytext=position[child], arrowprops=arrow)
    axes.set(xlim=(-0.6, len(layers) - 0.4), ylim=(-tallest / 2 - 0.2, tallest / 2 + 0.2))
    axes.axis("off")
    return save_figure(figure, path)


def _draw_table(axes: Axes, schema: TableSchema, place: tuple[float, float]) -> FancyBboxPatch | None:
    loops = [col for col, parent in schema.fkey_col_to_pkey_table.items() if parent == schema.name]
    lines = [schema.name, f"{schema.num_rows:,} rows · {len(schema.columns)} columns", *(f"↺ {col}" for col in loops)]
    style = {"boxstyle": "round", "facecolor": "#dbe9f6" if schema.time_col else "#ffffff", "edgecolor": "#446688"}
    return axes.text(*place, "\n".join(lines), ha="center", va="center", fontsize=8, bbox=style).get_bbox_patch()
