"""SQL database, or a folder of CSV/Parquet files -> a RelBench-3 folder.

In: a source and two timestamps. Out: `<out>/manifest.yaml`, `db/<table>.parquet`, `keys/<table>.parquet` (source_key ->
row_number, to join predictions back), `tasks/<task>/`, `import.json` (configuration, source hashes, report).
Promises: all or nothing (written to `<out>.partial`, renamed at the end); the same source and configuration give the
same bytes in all but import.json; nothing is repaired silently: what is left out or set to null is in the report. Cost:
one scan of each table, one sort, one hash join per foreign key; memory_bytes and about 1 GB more (RelBench makes tasks'
labels from all rows in memory), disk of about three times the data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
from relbench.manifest import DatasetManifest, TableSpec, TaskManifest, validate_dataset_manifest

from distributed.appending.earlier_import import EarlierImport, open_earlier
from distributed.files.folder_source import FolderSource
from distributed.import_report.html_page import write_page
from distributed.import_report.inspection import inspect_folder
from distributed.import_report.keys import reported_keys
from distributed.import_report.report import Growth, ImportReport, LaterTimes
from distributed.importing.appending import join_to_earlier, settings_without
from distributed.importing.config import ImportConfig, SettledImport
from distributed.importing.inferred_schema import (
    InferredSchema,
    declared_schemas,
    inferred_schema,
    propose,
    settled,
    unlinked_tables,
)
from distributed.importing.key_times import key_time_note, key_times, marks_note, time_beside_key
from distributed.importing.keys import KeyCounts, OrderedTable, order_table, write_table
from distributed.importing.late_columns import check_settings, settings_of, with_late_keys
from distributed.importing.marks import TimeSpan, notes_on_marked_cells, time_span
from distributed.importing.report import (
    read_report,
    refuse_doubts,
    table_lines,
    table_report,
    write_import_json,
)
from distributed.importing.staging import stage, typed_in_blocks, unstage
from distributed.importing.tasks import (
    check_task_tables,
    notes_on_reserved_names,
    read_task_files,
    read_tasks,
    write_tasks,
)
from distributed.importing.times import (
    check_time_cols,
    given_time_col,
    notes_on_times,
    notes_on_undated,
    refuse_key_without_dates,
    refuse_timeless,
    time_candidates,
    times_after_rows,
    with_weak_time,
)
from distributed.inference.evidence import Proposal
from distributed.inference.proposal_file import proposal_file, proposal_lines
from distributed.notations.null_values import NullValues, null_values
from distributed.notations.types import typed_columns
from distributed.schema.declared_table import DeclaredTable
from distributed.schema.duckdb_sql import limit_memory, quoted, work_database
from distributed.schema.engine_errors import told_as_ours
from distributed.schema.refusals import Refusals
from distributed.schema.schema_file import read_schema_file
from distributed.schema.table_plan import TablePlan, plan_tables
from distributed.selection.condition import check_conditions, with_condition
from distributed.selection.entities import check_sample, sample_entities
from distributed.selection.typed_table import TypedTable
from distributed.sources.catalogue import Wanted
from distributed.sources.duckdb_source import DuckdbSource, is_duckdb
from distributed.sources.source import Source, read_whole
from distributed.sources.sql_source import SqlSource
from rdl_core.atomic_write import replace_file, replace_folder
from rdl_core.database.table_settings import TableSettings, write_table_settings

Progress = Callable[[str], None]


def import_database(config: ImportConfig, progress: Progress | None = print) -> ImportReport:
    """Imports `config.source` into `config.out`.

    Args:
        config: Settings of the import.
        progress: Called with each line about decisions and tables; None for silence.

    Raises:
        ImportRefused: The source or the configuration is at fault; the message names table, column, row and remedy.
        FileExistsError: `config.out` exists and is not this import.
    """
    start_s = time.perf_counter()
    config = config.named()
    say = progress or (lambda line: None)
    refusals, tasks = Refusals(), {}
    declared: dict[str, DeclaredTable] | None = None
    source: Source | None = None
    with refusals.each():
        tasks = read_task_files(config.tasks)
    with refusals.each():
        declared = read_schema_file(config.schema_file) if config.schema_file else {}
    with refusals.each():
        if declared is not None:
            source = _source(config, declared)
    refusals.refuse()
    assert source is not None and declared is not None and config.out is not None  # or it was refused
    identity = _identity(config, source)
    earlier = open_earlier(config.out, identity) if config.append else None
    if earlier is not None and config.tasks is None:
        tasks = read_tasks(earlier.task_files)
    if config.out.exists() and (earlier is None or earlier.holds(identity)):
        report = read_report(config.out, identity)
        say(
            f"{config.out}: already imported from {source.display}; nothing to do; {report.page.name} tells what it holds"
        )
        for line in report.warnings:
            say(line)
        return dataclasses.replace(report, wall_s=time.perf_counter() - start_s)
    opened, of_file = source, declared

    def read() -> ImportReport:
        with opened:
            prepared = _prepared(config, opened, of_file, tasks)
            known = prepared.config
            with told_as_ours(known.out), replace_folder(known.out) as partial:
                report = _import(prepared, earlier, partial, say)
                if known.strict:
                    refuse_doubts(report)
                report = dataclasses.replace(report, wall_s=time.perf_counter() - start_s)
                more: dict[str, Any] = {}
                if earlier is not None:
                    more = {"history": earlier.history(), "appended": earlier.appended(partial)}
                write_import_json(partial / "import.json", identity, report, more)
        return report

    report = read_whole(read, say)
    say(
        f"{config.out}: {sum(t.num_rows for t in report.tables.values()):,} rows in {report.wall_s:.1f} s; {report.page}"
    )
    return report


def propose_schema(config: ImportConfig, progress: Progress | None = print) -> Proposal:
    """Writes the schema file that `config.propose` names, and no dataset.

    Args:
        config: Settings of the import.
        progress: Called with each line about decisions; None for silence.

    Raises:
        ImportRefused: The source or the configuration is at fault; the message names table, column, row and remedy.
        FileExistsError: The schema file exists; somebody may have changed it.
    """
    say = progress or (lambda line: None)
    target = config.propose
    assert target is not None
    if target.exists():
        raise FileExistsError(
            f"--propose {target}: exists, and may have been changed by hand; remove it, or choose another name"
        )
    declared = read_schema_file(config.schema_file) if config.schema_file else {}
    source = _source(config, declared)

    notes: list[str] = []

    def read() -> Proposal:
        notes.clear()
        with source:
            schemas = declared_schemas(config, source, declared)
            proposal = propose(config, source, schemas, notes)
            notes[:0] = source.notes()
            chosen = [name for name in schemas if name in (config.chosen_tables or schemas)]
            with replace_file(target) as path:
                path.write_text(proposal_file(proposal, chosen, source.display), encoding="utf-8")
        return proposal

    proposal = read_whole(read, say)
    for line in [*notes, *proposal_lines(proposal)]:
        say(line)
    return proposal


def _source(config: ImportConfig, declared: dict[str, DeclaredTable]) -> Source:
    wanted = Wanted(schemas=config.schemas, views=config.views, tables=config.tables)
    if is_duckdb(config.source):
        return DuckdbSource(config.source, config.batch_rows, wanted)
    if "://" in config.source:
        return SqlSource(config.source, config.batch_rows, wanted)
    may_declare_nothing = config.accept or config.propose is not None
    return FolderSource(
        config.source,
        declared,
        config.batch_rows,
        only=config.chosen_tables,
        may_declare_nothing=may_declare_nothing,
    )


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """An open source as it is to be imported: its settings and plans, and the user's words about them, checked against its schemas."""

    config: SettledImport
    source: Source
    inferred: InferredSchema
    plans: dict[str, TablePlan]
    conditions: dict[str, str]
    nulls: NullValues
    tasks: dict[Path, TaskManifest]
    notes: list[str]


def _prepared(
    config: ImportConfig, source: Source, declared: dict[str, DeclaredTable], tasks: dict[Path, TaskManifest]
) -> _Prepared:
    inferred = inferred_schema(config, source, declared)
    plans = plan_tables(inferred.schemas, tables=config.chosen_tables, exclude=config.exclude)
    check_time_cols(config.time_cols, plans)
    nulls = null_values(config.null_values, plans)
    conditions = check_conditions(config.where, plans)
    if config.entities is not None:
        check_sample(config.entities, plans)
    notes = [*notes_on_reserved_names(tasks, plans), *(note for plan in plans.values() for note in plan.notes)]
    return _Prepared(
        config=settled(config, inferred.proposal),
        source=source,
        inferred=inferred,
        plans=plans,
        conditions=conditions,
        nulls=nulls,
        tasks=tasks,
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Written:
    """The tables in the folder of an import, and what was found of them while DuckDB held their rows."""

    tables: dict[str, OrderedTable]
    settings: dict[str, TableSettings]
    counts: dict[str, KeyCounts]
    later_times: dict[str, dict[str, LaterTimes]]
    span: TimeSpan
    proposal: Proposal | None
    unlinked: tuple[str, ...]
    notes: list[str]
    growth: dict[str, Growth] = field(default_factory=dict)

    @property
    def specs(self) -> dict[str, TableSpec]:
        return {name: _spec(table) for name, table in self.tables.items()}

    def behind(self, earlier: EarlierImport, folder: Path, prepared: _Prepared) -> _Written:
        """Returns the tables after --append: the earlier rows, and these behind them."""
        config = prepared.config
        joined = join_to_earlier(
            earlier,
            folder,
            self.tables,
            self.specs,
            test_timestamp=config.test_timestamp,
            has_tasks=bool(prepared.tasks),
            memory_bytes=config.memory_bytes,
        )
        left_out = {name: table.plan.left_out for name, table in joined.tables.items()}
        settings = {name: settings_without(found, left_out[name]) for name, found in self.settings.items()}
        notes = [*self.notes, *joined.notes]
        return dataclasses.replace(self, tables=joined.tables, growth=joined.growth, settings=settings, notes=notes)


def _written(prepared: _Prepared, folder: Path) -> _Written:
    """Writes the source's tables into the folder of an import."""
    work, notes, config = folder / "work", [*prepared.notes], prepared.config
    for part in (work, folder / "db", folder / "keys"):
        part.mkdir()
    with work_database(work) as con:
        con.execute("SET TimeZone = 'UTC'")
        limit_memory(con, config.memory_bytes, work / "spill")
        ordered = _order(con, prepared, work, notes)
        settings = settings_of(ordered)
        check_task_tables(prepared.tasks, {name: _spec(table) for name, table in ordered.items()})
        notes[:0] = [*prepared.source.notes(), *prepared.inferred.notes]
        counts = _write_tables(con, config, ordered, folder)
        span = time_span(con, ordered)
        notes += [line for name, found in counts.items() for line in found.lines(name)]
        notes += notes_on_times(
            con, ordered, span, val_timestamp=config.val_timestamp, test_timestamp=config.test_timestamp
        )
        notes += notes_on_marked_cells(con, ordered)
        later_times = {name: times_after_rows(con, table) for name, table in ordered.items()}
        proposal, unlinked = unlinked_tables(con, ordered, prepared.inferred.proposal)
    shutil.rmtree(work)
    return _Written(
        tables=ordered,
        settings=settings,
        counts=counts,
        later_times=later_times,
        span=span,
        proposal=proposal,
        unlinked=unlinked,
        notes=notes,
    )


def _import(prepared: _Prepared, earlier: EarlierImport | None, folder: Path, say: Progress) -> ImportReport:
    config, written = prepared.config, _written(prepared, folder)
    if earlier is not None:
        written = written.behind(earlier, folder, prepared)
    ordered, plans = written.tables, {name: table.plan for name, table in written.tables.items()}
    manifest = DatasetManifest(
        name=config.name,
        val_timestamp=config.val_timestamp,
        test_timestamp=config.test_timestamp,
        description=f"Imported from {prepared.source.display}.",
        tables=written.specs,
    )
    manifest.save(folder / "manifest.yaml")
    validate_dataset_manifest(manifest, folder / "db")
    check_settings(folder, manifest, written.settings)
    settings, of_keys = with_late_keys(folder, manifest, written.settings)
    write_table_settings(folder, settings)
    notes = [*written.notes, *of_keys, *notes_on_undated(ordered, settings)]
    counts, later_times = written.counts, written.later_times
    tables = {name: table_report(table, counts[name], later_times[name], folder) for name, table in ordered.items()}
    for line in [*table_lines(tables), *notes]:
        say(line)
    num_labels = write_tasks(prepared.tasks, folder, written.span)
    seen = inspect_folder(folder, manifest, tables, prepared.tasks.values(), written.growth)
    for line in [*seen.lines, *written.unlinked]:
        say(line)
    report = ImportReport(
        manifest=config.out / "manifest.yaml",
        tables=tables,
        tasks=num_labels,
        notes=tuple(notes),
        warnings=(*seen.warnings, *written.unlinked),
        keys=reported_keys(plans, {name: table.time_col for name, table in ordered.items()}, written.proposal),
        leaks=seen.leaks,
        labels=seen.labels,
        label_findings=seen.label_findings,
        rows_over_time=seen.rows_over_time,
        proposal=written.proposal,
        growth=written.growth,
    )
    write_page(folder / report.page.name, report, manifest)
    return report


def _write_tables(
    con: duckdb.DuckDBPyConnection, config: ImportConfig, ordered: dict[str, OrderedTable], folder: Path
) -> dict[str, KeyCounts]:
    refusals, counts = Refusals(), {}
    for name, table in ordered.items():
        with refusals.each(), told_as_ours(folder, name):
            counts[name] = write_table(con, table, ordered, folder, dangling=config.dangling)
    refusals.refuse()
    return counts


def _order(
    con: duckdb.DuckDBPyConnection, prepared: _Prepared, work: Path, notes: list[str]
) -> dict[str, OrderedTable]:
    config, plans, conditions = prepared.config, prepared.plans, prepared.conditions
    refusals, ordered = Refusals(), {}
    typed: dict[str, TypedTable] = {}
    ambiguous: dict[str, list[str]] = {}

    def order(table: TypedTable) -> None:
        name = table.plan.name
        ordered[name] = order_table(con, table)
        if not ordered[name].num_rows:
            notes.append(f"{name}: no rows; it is imported empty (--tables with the others leaves it out)")
        unstage(con, table.plan, work)

    for name, plan in plans.items():
        with refusals.each(), told_as_ours(work, name):
            stage(con, prepared.source, plan, work)
            table = _typed(con, config, plan, prepared.nulls, ambiguous, notes)
            if name in conditions:
                table = with_condition(con, table, conditions[name], _referred(plans, name), notes)
            typed[name] = table
            if config.entities is None:
                order(table)
    if config.entities is not None and not refusals.problems and not ambiguous:
        for table in sample_entities(con, typed, config.entities, notes).values():
            with refusals.each(), told_as_ours(work, table.plan.name):
                order(table)
    if ambiguous:
        # Taking none would date these rows by their parents, and so show them before they were there.
        known = {name: table.time_col for name, table in typed.items() if table.time_col}
        choice = known | {name: columns[0] for name, columns in ambiguous.items()}
        of_schema = "give these tables a time_col in the schema file, or " if config.schema_file else ""
        several = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in ambiguous.items())
        example = f", for example\n  --time-cols {shlex.join(word for pair in choice.items() for word in pair)}"
        if refused := [
            name for name in plans if name not in typed
        ]:  # their time columns are not known: a line without them would drop these
            example = f"; an example follows once these tables can be read: {', '.join(refused)}"
        refusals.problems.append(
            f"more than one column could be the time from which a row is there: {several}\n"
            f"Remedy: {of_schema}name the time column of every table that has one (a table not named has none){example}"
        )
    refusals.refuse()
    refuse_timeless(ordered, allowed=config.timeless)
    return ordered


def _referred(plans: dict[str, TablePlan], parent: str) -> list[str]:
    """Returns the columns of a table that foreign keys refer to."""
    links = (link for plan in plans.values() for link in plan.links if link.parent == parent)
    return list(dict.fromkeys(column for link in links for column in link.parent_columns))


def _typed(
    con: duckdb.DuckDBPyConnection,
    config: ImportConfig,
    plan: TablePlan,
    nulls: NullValues,
    ambiguous: dict[str, list[str]],
    notes: list[str],
) -> TypedTable:
    """Types one staged table; several columns that could be its time go to `ambiguous`."""
    staged = quoted(f"staged_{plan.name}")
    time_col = given_time_col(config.time_cols, plan)
    columns = typed_columns(con, plan, staged, None if time_col in plan.key_cols else time_col, nulls)
    rows = columns.relation(plan, staged)
    of_keys = key_times(con, plan, rows, columns.kinds)
    if time_col is None and config.time_cols is None and not plan.schema.time_col_is_declared:
        candidates = time_candidates(con, plan, rows, columns.kinds, of_keys)
        time_col = candidates[0] if len(candidates) == 1 else None
        if len(candidates) > 1:
            ambiguous[plan.name] = candidates
        if not candidates:
            time_col, columns = with_weak_time(plan, columns)
    if time_col in plan.key_cols:
        refuse_key_without_dates(plan, time_col, of_keys)
        expression, key, time_col = of_keys[time_col], time_col, time_beside_key(plan, time_col)
        columns = columns.with_time(time_col, expression)
        notes.append(key_time_note(plan, key, time_col))
        if (marks := marks_note(con, plan, rows, key, expression)) is not None:
            notes.append(marks)
    notes += columns.lines(plan.name)
    staged, columns = typed_in_blocks(con, plan, staged, columns)
    return TypedTable(plan=plan, staged=staged, columns=columns, time_col=time_col)


def _spec(table: OrderedTable) -> TableSpec:
    fkeys = {link.out_column: link.parent for link in table.plan.links}
    return TableSpec(pkey=table.plan.pkey_out, time_col=table.time_out, fkeys=fkeys)


def _identity(config: ImportConfig, source: Source) -> dict[str, Any]:
    """Returns what two equal imports share: every option, the content of task and schema files, the source's file hashes."""
    options = dataclasses.asdict(config)
    for option in ("out", "propose", "batch_rows", "memory_bytes", "tasks", "schema_file"):
        del options[option]
    options["source"] = source.display  # without a password
    files = [*(config.tasks.iterdir() if config.tasks else ()), *([config.schema_file] if config.schema_file else ())]
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(files) if path.suffix in (".yaml", ".yml")}
    dumped = json.dumps([options, texts], sort_keys=True)
    return {
        "config": options,
        "config_hash": hashlib.sha256(dumped.encode()).hexdigest(),
        "source_hashes": source.fingerprint(),
    }
