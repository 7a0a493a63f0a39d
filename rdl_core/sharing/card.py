"""The card of a model folder (README.md): what the model is, the data that it has seen, its figures, its limits, and which values it holds.

Promises: made from the checkpoint alone, hence the same text for the same checkpoint; the front matter is what the Hugging Face hub reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from rdl_core.graph.schema import Schema, TableSchema
from rdl_core.sharing.vocabulary import class_names, hidden_columns, vocabularies

LIBRARY = "relational-pretraining"
_LIMITS = """- It reads databases with the tables, keys and columns below and no others; `rdl materialize --schema-of` reads new rows of them, and
  refuses what does not fit. A category that it has not seen is its unknown value.
- It has seen rows up to the cutoff. What has changed since, it does not know; score it on newer rows before you rely on it.
- Figures are of this database, by the splits of its task. They say nothing of another database, and nothing of fairness: what the
  rows say about groups of people, the model may repeat.
- A prediction for a time sees the rows strictly before that time, as far as the database's time columns are true."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The content of a model's card.

    Args:
        schema, kind, about: As a checkpoint has them (rdl_core/model/checkpoint.py).
        extras: Names of the further files in the folder.
    """

    schema: Schema
    kind: str
    about: Mapping[str, Any]
    extras: Sequence[str] = ()

    def text(self) -> str:
        """Returns the content of README.md."""
        front = yaml.safe_dump(_front_matter(self), sort_keys=False, allow_unicode=True)
        return f"---\n{front}---\n\n" + "\n\n".join(_sections(self)) + "\n"


def _name(card: ModelCard) -> str:
    what = card.about.get("task") if card.kind != "pretrained" else None
    return f"{card.schema.database}: {what or f'{card.kind} backbone'}"


def _front_matter(card: ModelCard) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": LIBRARY,
        "tags": ["relational-deep-learning", "tabular", "graph-neural-network", card.kind],
    }
    if (task := _hub_task(card)) is not None:
        front["pipeline_tag"] = task
        front["model-index"] = [{"name": _name(card), "results": list(_hub_results(card, task))}]
    return front


def _hub_task(card: ModelCard) -> str | None:
    scale = card.about.get("target_scale")
    if card.kind == "pretrained" or scale is None:
        return None
    return "tabular-classification" if scale.get("is_binary") or scale.get("classes") else "tabular-regression"


def _hub_results(card: ModelCard, task: str) -> Iterator[dict[str, Any]]:
    for split, metrics in _metrics(card).items():
        yield {
            "task": {"type": task},
            "dataset": {"name": card.schema.database, "type": card.schema.database, "split": split},
            "metrics": [{"type": name, "value": value} for name, value in metrics.items()],
        }


def _metrics(card: ModelCard) -> dict[str, dict[str, float]]:
    return dict((card.about.get("result") or {}).get("metrics") or {})


def _sections(card: ModelCard) -> Iterator[str]:
    schema, about = card.schema, card.about
    yield f"# {_name(card)}"
    if card.kind != "pretrained":
        learned = f"the task `{about.get('task')}` (arm {about.get('arm')}, regime {about.get('regime')})"
        yield f"A model of relational rows, trained for {learned} on the database `{schema.database}`."
    else:
        yield f"A backbone that turns rows of the database `{schema.database}` and what their keys lead to into vectors, trained without labels."
    cutoff = np.datetime64(schema.cutoff_s, "s")
    yield "\n".join(
        [
            "## Data",
            "",
            f"Rows up to {cutoff} UTC, the cutoff. Store `{about.get('store', 'not recorded')}`; texts by `{schema.text_embedder}`; rows of "
            f"tables without times exist from: {schema.timeless_rows}.",
            "",
            "| table | rows up to the cutoff | time | foreign keys | columns |",
            "|---|---|---|---|---|",
            *(_table_line(table) for table in schema.tables.values()),
        ]
    )
    yield "## Figures\n\n" + "\n".join(_figures(card))
    yield "## Limits\n\n" + _LIMITS
    yield "## Values of the data in this folder\n\n" + "\n".join(_values(card))
    shown = "".join(f"\n\nFurther files: {', '.join(f'`{name}`' for name in card.extras)}." if card.extras else "")
    yield f"## Use\n\n{_use(card)}{shown}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _table_line(table: TableSchema) -> str:
    keys = ", ".join(f"{column} → {parent}" for column, parent in table.fkey_col_to_pkey_table.items())
    columns = ", ".join(f"{column.name} ({column.stype})" for column in table.columns)
    cells = (
        table.name,
        f"{table.num_rows_up_to_cutoff:,}",
        table.time_col or "none",
        keys or "none",
        columns or "none",
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def _figures(card: ModelCard) -> Iterator[str]:
    if metrics := _metrics(card):
        yield from ("| split | metric | value |", "|---|---|---|")
        yield from (
            f"| {s} | {name} | {value:.6g} |" for s, values in metrics.items() for name, value in values.items()
        )
        refitted = card.about["result"].get("test_refit")
        if refitted is not None:
            yield f"| test, of the model refitted on all closed labels | {card.about['result']['metric']} | {refitted:.6g} |"
        return
    first, best = (card.about.get(name) or {} for name in ("first_validation", "validation"))
    if not best:
        yield "None are recorded."
        return
    yield from ("| measure | first validation | these weights |", "|---|---|---|")
    yield from (f"| {n} | {f'{first[n]:.6g}' if n in first else ''} | {value:.6g} |" for n, value in best.items())


def _values(card: ModelCard) -> Iterator[str]:
    found = vocabularies(card.schema)
    if found:
        yield "`schema.json` holds the values of these columns as they are in the data:"
        yield ""
        yield from (f"- `{column}`: {number:,} values" for column, number in found.items())
        yield ""
    else:
        yield "`schema.json` holds no values of the data."
        yield ""
    if names := class_names(card.about):
        yield f"`config.json` holds the names of the {len(names):,} classes that the model predicts, as they are in the data."
        yield ""
    if hidden := hidden_columns(card.schema):
        listed = ", ".join(f"`{name}`" for name in hidden)
        yield (
            f"Of {listed} it holds the keyed SHA-256 of each value, with the key: whoever has this folder can test a guess, but not read the values."
        )
        yield ""
    yield (
        "Besides, the folder holds means, standard deviations and the oldest, median and newest time of columns, quantiles of statistics of rows "
        "(in the weights), and the range of a fine-tuned task's labels."
    )


def _use(card: ModelCard) -> str:
    command = (
        "rdl predict --checkpoint MODEL --data DATA --all --out predictions.parquet"
        if card.kind != "pretrained"
        else "rdl finetune --checkpoint MODEL --data DATA --task TASK --arm finetuned"
    )
    return (
        f"```bash\n{command}\n```\n\nMODEL is this folder or its name on the hub.\n\n"
        '```python\nfrom rdl_core.model import from_pretrained\n\ncheckpoint = from_pretrained("MODEL")\n```'
    )
