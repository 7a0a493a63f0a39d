"""The schema that a source does not declare, inferred from its rows before they are imported: a proposal, and the schemas with what is certain of it.

In: an open source and its schemas. Out: a `Proposal`; with --accept, schemas that declare what was accepted, the timestamps, and a line for each
decision. Cost: one more reading of the source, into a work database beside the output, removed at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import duckdb

from distributed.importing.config import ImportConfig, SettledImport
from distributed.importing.keys import OrderedTable
from distributed.importing.staging import stage, unstage
from distributed.inference.column_profile import TypedRows
from distributed.inference.evidence import Proposal
from distributed.inference.proposal import accept, infer
from distributed.inference.proposal_file import proposal_lines
from distributed.notations.null_values import null_values
from distributed.notations.types import typed_columns
from distributed.schema.declared_table import DeclaredTable
from distributed.schema.duckdb_sql import limit_memory, quoted, work_database
from distributed.schema.engine_errors import told_as_ours
from distributed.schema.refusals import ImportRefused, Refusals
from distributed.schema.schema_file import with_declared
from distributed.schema.source_table import SourceTable
from distributed.schema.table_plan import plan_tables
from distributed.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class InferredSchema:
    """The schemas that an import works on.

    Args:
        schemas: With what was accepted.
        proposal: What was proposed; None where nobody asked.
        notes: A line for each decision.
    """

    schemas: Mapping[str, SourceTable]
    proposal: Proposal | None = None
    notes: tuple[str, ...] = ()


def inferred_schema(config: ImportConfig, source: Source, declared: Mapping[str, DeclaredTable]) -> InferredSchema:
    """Returns the schemas with what the schema file declares and what --accept takes.

    Raises:
        ImportRefused: Source and schema file contradict each other, or rows cannot be read.
    """
    schemas = declared_schemas(config, source, declared)
    if not config.accept:
        return InferredSchema(schemas=schemas)
    proposal, accepted = accept(propose(config, source, schemas), schemas)
    return InferredSchema(schemas=accepted, proposal=proposal, notes=tuple(proposal_lines(proposal)))


def declared_schemas(
    config: ImportConfig, source: Source, declared: Mapping[str, DeclaredTable]
) -> dict[str, SourceTable]:
    """Returns what the source and the schema file declare; with --accept or --propose, a table may lack an entry.

    Raises:
        ImportRefused: They contradict each other.
    """
    schemas = source.schemas()
    if config.accept or config.propose is not None:
        declared = {name: DeclaredTable() for name in schemas} | dict(declared)
    return with_declared(schemas, declared, config.chosen_tables)


def propose(
    config: ImportConfig, source: Source, schemas: Mapping[str, SourceTable], notes: list[str] | None = None
) -> Proposal:
    """Returns what is proposed for the tables that the options choose, without the columns that they leave out.

    Args:
        notes: Gets a line for each decision on how values are read; an import has these lines itself.

    Raises:
        ImportRefused: An option names what is not there, or rows cannot be read.
    """
    # Keys are settled by the rows: the plan of a table without keys reads every column as it is.
    bare = {name: replace(schema, pkey=(), fkeys=()) for name, schema in schemas.items()}
    plans = plan_tables(bare, tables=config.chosen_tables, exclude=_without_keys(config, schemas))
    nulls = null_values(config.null_values, plans)
    beside = (config.out or config.propose or Path()).resolve().parent
    beside.mkdir(parents=True, exist_ok=True)
    refusals = Refusals()
    typed: dict[str, TypedRows] = {}
    with (
        tempfile.TemporaryDirectory(dir=beside, prefix=".inference-") as folder,
        work_database(Path(folder)) as con,
    ):
        con.execute("SET TimeZone = 'UTC'")
        limit_memory(con, config.memory_bytes, Path(folder) / "spill")
        for name, plan in plans.items():
            with refusals.each(), told_as_ours(Path(folder), name):
                stage(con, source, plan, Path(folder))
                staged, relation = quoted(f"staged_{name}"), quoted(f"typed_{name}")
                schema = _as_given(config, schemas[name])
                columns = typed_columns(con, plan, staged, schema.time_col, nulls)
                selected = ", ".join(map(quoted, columns.columns))
                # A table: it is scanned many times, and reading text as types costs more than the space.
                con.execute(f"CREATE TABLE {relation} AS SELECT {selected} FROM {columns.relation(plan, staged)}")
                unstage(con, plan, Path(folder))
                typed[name] = TypedRows(schema=schema, relation=relation, kinds=columns.kinds)
                if notes is not None:
                    notes += columns.lines(name)
        refusals.refuse()
        return infer(con, typed)


def unlinked_tables(
    con: duckdb.DuckDBPyConnection, ordered: Mapping[str, OrderedTable], proposal: Proposal | None
) -> tuple[Proposal | None, tuple[str, ...]]:
    """Returns what is proposed, and a warning, where no table refers to another; what was proposed before and () elsewhere.

    One table alone has nothing to refer to.
    """
    if len(ordered) < 2 or any(table.plan.links for table in ordered.values()):
        return proposal, ()
    if proposal is None:
        rows = {
            name: TypedRows(schema=table.plan.schema, relation=quoted(f"ordered_{name}"), kinds=table.kinds)
            for name, table in ordered.items()
        }
        proposal = infer(con, rows)
    candidates = [line for line in proposal_lines(proposal) if "foreign key" in line]
    found = "these columns look like keys:" if candidates else "no column looks like a key of another table"
    return proposal, (
        f"warning: no table refers to another one: of {len(ordered)} tables, none has a foreign key, so that nothing can be learnt "
        f"across tables, and `rdl pretrain` refuses this; {found}",
        *(f"  {line}" for line in candidates),
        "Remedy: `--propose schema.yaml` writes a schema file with all of this, to read and change, for --schema-file; --accept takes what "
        "is certain",
    )


def settled(config: ImportConfig, proposal: Proposal | None) -> SettledImport:
    """Returns the import with the timestamps that were proposed where none are given.

    Raises:
        ImportRefused: There is nothing to propose, or it does not go with what is given.
    """
    given = {field.name: getattr(config, field.name) for field in fields(ImportConfig)}
    proposed = proposal.timestamps if proposal is not None else None
    for option in ("val_timestamp", "test_timestamp"):
        if given[option] is None:
            if proposed is None:
                raise ImportRefused(
                    f"--{option.replace('_', '-')}: not given, and the rows have no times to propose it from (or all have about the same); pass it"
                )
            given[option] = getattr(proposed, option)
    return SettledImport(**given)


def _as_given(config: ImportConfig, schema: SourceTable) -> SourceTable:
    """Returns the schema with the time column of --time-cols, which is complete."""
    if config.time_cols is None:
        return schema
    return replace(schema, time_col=config.time_cols.get(schema.name), time_col_is_declared=True)


def _without_keys(config: ImportConfig, schemas: Mapping[str, SourceTable]) -> list[str]:
    """Returns the columns to leave out; a composite foreign key that is left out keeps its columns."""
    composite = {f"{s.name}.{'+'.join(f.columns)}" for s in schemas.values() for f in s.fkeys if len(f.columns) > 1}
    return [entry for entry in config.exclude if entry not in composite]
