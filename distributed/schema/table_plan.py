"""The schema that an import works on: read from the source, checked, and turned into one plan per table.

In: what a source declares (`SourceTable`). Out: what a RelBench-3 folder can hold (`TablePlan`): at most one pkey
column, foreign keys of one column, each to one table. A key of several columns becomes one column of row numbers, named
`a+b`, beside its columns, which stay attributes. Names of our own beside the source's columns are such that no column has
them. Everything that RelBench cannot hold is either refused here, before a row is read, or left out with a reason that the
report repeats. Pure functions, no input or output.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from distributed.schema.refusals import ImportRefused, Refusals, exclude_option
from distributed.schema.source_table import ForeignKey, Kind, SourceTable
from rdl_core.file_names import is_file_name


@dataclass(frozen=True, kw_only=True)
class Link:
    """A foreign key: `columns` of the source become `out_column`, row numbers of `parent`, whose `parent_columns` they equal."""

    columns: tuple[str, ...]
    out_column: str
    parent: str
    parent_columns: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The columns, as messages call them."""
        return "+".join(self.columns)


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """The plan of one table.

    Args:
        columns: The columns that are read, keys too.
        pkey_cols: Columns of the source's key; () for none.
        pkey_out: The pkey column of the folder.
        order_cols: The columns that order the rows after time.
        row_col, row_source_col: What a row's final number and its number in the source are called in the work database; no column is.
    """

    name: str
    columns: dict[str, Kind]
    pkey_cols: tuple[str, ...]
    pkey_out: str | None
    order_cols: tuple[str, ...]
    links: tuple[Link, ...]
    schema: SourceTable
    left_out: dict[str, str]
    row_col: str
    row_source_col: str
    notes: tuple[str, ...] = ()

    @property
    def key_cols(self) -> set[str]:
        """Columns of the source that become row numbers: keys of one column."""
        return {key[0] for key in self._keys() if len(key) == 1}

    @property
    def key_part_cols(self) -> set[str]:
        """Columns of keys of several columns, which stay attributes."""
        return {column for key in self._keys() if len(key) > 1 for column in key} - self.key_cols

    def _keys(self) -> list[tuple[str, ...]]:
        return [self.pkey_cols, *(link.columns for link in self.links)]


def plan_tables(
    schemas: Mapping[str, SourceTable], *, tables: Sequence[str] | None, exclude: Iterable[str]
) -> dict[str, TablePlan]:
    """Chooses tables, leaves out what is excluded, and settles every key.

    Args:
        schemas: All tables of the source.
        tables: Names of those to import, None for all; a foreign key to a table outside is left out and reported.
        exclude: `table.column` leaves a column out; `table.a+b` leaves a composite foreign key out, its columns stay.

    Raises:
        ImportRefused: A name is unknown, names differ only in case, or no column of a table can be imported; it holds all problems.
    """
    refusals = Refusals()
    chosen = _choose(schemas, tables)
    excluded = _parse_exclude(exclude, chosen)
    reduced = {}
    for name, schema in chosen.items():
        with refusals.each():
            gone = {columns[0] for columns in excluded.get(name, set()) if len(columns) == 1}
            reduced[name] = _without(schema, gone)
            kept = [column for column in reduced[name].columns if column not in schema.unsupported]
            remedy = f"leave one out, such as {exclude_option(f'{name}.{kept[-1]}')}" if kept else ""
            _refuse_same_but_case(f"table {name!r}: columns", kept, remedy)
    refusals.refuse()
    links: dict[str, tuple[list[Link], dict[str, str]]] = {}
    for name, schema in reduced.items():
        with refusals.each():
            links[name] = _links(schema, chosen, excluded.get(name, set()), schemas[name])
    referenced: dict[str, list[tuple[str, ...]]] = {}
    for found, _ in links.values():
        for link in found:
            referenced.setdefault(link.parent, []).append(link.parent_columns)
    plans: dict[str, TablePlan] = {}
    for name, (found, left_out) in links.items():
        with refusals.each():
            plans[name] = _plan(reduced[name], schemas[name], found, left_out, referenced.get(name, []))
            if not plans[name].columns:
                raise ImportRefused(_no_column(plans[name], chosen))
    refusals.refuse()
    return plans


def _no_column(plan: TablePlan, chosen: Iterable[str]) -> str:
    reasons = ", ".join(f"{column}: {reason}" for column, reason in plan.left_out.items()) or "it has none"
    return f"table {plan.name!r}: no column can be imported ({reasons}); leave the table out by {_others(plan.name, chosen)}"


def _others(name: str, chosen: Iterable[str]) -> str:
    """Returns the option that leaves a table out."""
    return f"--tables {shlex.join(sorted(set(chosen) - {name}))}"


def _choose(schemas: Mapping[str, SourceTable], tables: Sequence[str] | None) -> dict[str, SourceTable]:
    unknown = sorted(set(tables or ()) - set(schemas))
    if unknown:
        raise ImportRefused(f"--tables: no table named {unknown}; the source has {sorted(schemas)}")
    chosen = {name: schemas[name] for name in sorted(schemas if tables is None else set(tables))}
    if not chosen:
        raise ImportRefused("the source has no table to import; check the source, its default schema, or --tables")
    refusals = Refusals()
    with refusals.each():
        _refuse_same_but_case("tables", chosen, "leave one out: --tables with the others")
    for name in chosen:
        with refusals.each():
            if not is_file_name(name):
                raise ImportRefused(
                    f"table {name!r}: the name cannot be a file name; leave it out by {_others(name, chosen)}, or rename it"
                )
    refusals.refuse()
    return chosen


def _refuse_same_but_case(what: str, names: Iterable[str], remedy: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ImportRefused(
                f"{what} {other!r} and {name!r} differ only in case, which DuckDB (task SQL) cannot tell apart; {remedy}"
            )


def _parse_exclude(exclude: Iterable[str], schemas: Mapping[str, SourceTable]) -> dict[str, set[tuple[str, ...]]]:
    refusals = Refusals()
    parsed: dict[str, set[tuple[str, ...]]] = {}
    for entry in exclude:
        with refusals.each():
            table, columns = _excluded(entry, schemas)
            parsed.setdefault(table, set()).add(columns)
    refusals.refuse()
    return parsed


def _excluded(entry: str, schemas: Mapping[str, SourceTable]) -> tuple[str, tuple[str, ...]]:
    # Names may hold dots: the table is the longest known name that the entry starts with.
    owners = sorted((name for name in schemas if entry.startswith(f"{name}.")), key=len)
    if not owners:
        raise ImportRefused(f"--exclude {entry!r}: expected table.column, with a table of {sorted(schemas)}")
    table = schemas[owners[-1]]
    rest = entry.removeprefix(f"{table.name}.")
    columns = (rest,) if rest in table.columns else tuple(rest.split("+"))
    if len(columns) > 1 and columns not in {fkey.columns for fkey in table.fkeys}:
        raise ImportRefused(f"--exclude {entry!r}: table {table.name!r} has no foreign key of columns {columns}")
    if unknown := [column for column in columns if column not in table.columns]:
        raise ImportRefused(
            f"--exclude {entry!r}: table {table.name!r} has no column {unknown}, it has {list(table.columns)}"
        )
    return table.name, columns


def _without(schema: SourceTable, columns: set[str]) -> SourceTable:
    """Returns the schema without these columns and without the keys that need them."""
    return replace(
        schema,
        columns={name: kind for name, kind in schema.columns.items() if name not in columns},
        pkey=() if columns & set(schema.pkey) else schema.pkey,
        fkeys=tuple(fkey for fkey in schema.fkeys if not columns & set(fkey.columns)),
    )


def _links(
    schema: SourceTable, chosen: Mapping[str, SourceTable], excluded: set[tuple[str, ...]], source: SourceTable
) -> tuple[list[Link], dict[str, str]]:
    """Returns the foreign keys that stay, and why the columns of the others are left out."""
    links: list[Link] = []
    refusals = Refusals()
    left_out = {column: "excluded" for column in source.columns if column not in schema.columns}
    for fkey in sorted(schema.fkeys, key=lambda fkey: (fkey.columns, fkey.parent)):
        if fkey.columns in excluded:
            continue
        if fkey.left_out or fkey.parent not in chosen:
            reason = fkey.left_out or f"foreign key to {fkey.parent!r}, which is not imported"
            left_out |= dict.fromkeys(fkey.columns, reason)
            continue
        with refusals.each():
            links.append(_link(schema, chosen[fkey.parent], fkey, [link.out_column for link in links]))
    refusals.refuse()
    taken = {column for link in links for column in link.columns}
    return links, {column: reason for column, reason in left_out.items() if column not in taken}


def _link(schema: SourceTable, parent: SourceTable, fkey: ForeignKey, taken: list[str]) -> Link:
    if len(fkey.columns) != len(
        fkey.parent_columns
    ):  # SQLite: `REFERENCES parent`, which means its primary key, whatever that is
        key = "+".join(fkey.columns)
        raise ImportRefused(
            f"table {schema.name!r}, column {key!r}: refers to the primary key of {fkey.parent!r}, which has "
            f"{list(fkey.parent_columns) or 'none'}; expected as many columns as {list(fkey.columns)}; declare the primary key "
            f"of {fkey.parent!r} in the source, or leave the key out by {exclude_option(f'{schema.name}.{key}')}"
        )
    for column, parent_column in zip(fkey.columns, fkey.parent_columns, strict=True):
        if parent_column not in parent.columns:
            key = exclude_option(f"{schema.name}.{'+'.join(fkey.columns)}")
            raise ImportRefused(
                f"table {schema.name!r}, column {column!r}: refers to {fkey.parent}.{parent_column}, which does not exist; "
                f"expected one of {list(parent.columns)}; correct the schema, or leave the key out by {key}"
            )
    # A second key on one column gets a column of its own: RelBench maps a column to one table.
    out_column = "+".join(fkey.columns)
    used = taken if len(fkey.columns) == 1 else [*taken, *schema.columns]
    if out_column in used:
        out_column = _free(f"{out_column}__{fkey.parent}", [*schema.columns, *taken])
    return Link(columns=fkey.columns, out_column=out_column, parent=fkey.parent, parent_columns=fkey.parent_columns)


def _plan(
    schema: SourceTable,
    source: SourceTable,
    links: list[Link],
    left_out: dict[str, str],
    referenced: list[tuple[str, ...]],
) -> TablePlan:
    notes = list(schema.notes)
    left_out = left_out | {c: why for c, why in schema.unsupported.items() if c in schema.columns}
    pkey_cols = _pkey_cols(schema, referenced, notes)
    for column in {column for key in (pkey_cols, *referenced, *(link.columns for link in links)) for column in key}:
        _refuse_bad_key_column(schema, column)
    columns = {name: kind for name, kind in schema.columns.items() if name not in left_out}
    outs = [link.out_column for link in links]
    pkey_out = "+".join(pkey_cols) or None
    if pkey_out is not None and (pkey_out in outs or (len(pkey_cols) > 1 and pkey_out in schema.columns)):
        pkey_out = _free(f"{pkey_out}__pkey", [*schema.columns, *outs])
        notes.append(
            f"{schema.name}: {'+'.join(pkey_cols)} is primary and foreign key; it stays the fkey, the pkey is {pkey_out}"
        )
    for key, out in ((pkey_cols, pkey_out), *((link.columns, link.out_column) for link in links)):
        if len(key) > 1:
            notes.append(f"{schema.name}: the key {list(key)} becomes the column {out!r}, its columns stay attributes")
    taken = [*schema.columns, *outs, *([pkey_out] if pkey_out else ())]
    return TablePlan(
        name=schema.name,
        columns=columns,
        pkey_cols=pkey_cols,
        pkey_out=pkey_out,
        links=tuple(links),
        schema=schema,
        order_cols=tuple(c for c in schema.pkey or pkey_cols if c in columns) or tuple(columns),
        left_out=left_out,
        row_col=_free("__row", taken),
        row_source_col=_free("__row_source", taken),
        notes=tuple(notes),
    )


def _pkey_cols(schema: SourceTable, referenced: list[tuple[str, ...]], notes: list[str]) -> tuple[str, ...]:
    """Returns the columns of the key that numbers the rows: the primary key, else unique columns that a foreign key refers to."""
    lost = [c for c in schema.pkey if schema.columns.get(c, "unsupported") == "unsupported"]
    if not lost or len(schema.pkey) == 1 or schema.pkey in referenced:
        pkey_cols = schema.pkey
    else:
        pkey_cols = ()
        notes.append(f"{schema.name}: no pkey, since {lost} of its key {list(schema.pkey)} cannot be imported")
    if not pkey_cols and referenced:
        pkey_cols = sorted(set(referenced))[0]
        notes.append(f"{schema.name}: {'+'.join(pkey_cols)} is taken as pkey, since a foreign key refers to it")
    return pkey_cols


def _refuse_bad_key_column(schema: SourceTable, column: str) -> None:
    kind = schema.columns.get(column, "unsupported")
    if kind in ("unsupported", "list"):
        why = schema.unsupported.get(column, "a list" if kind == "list" else "excluded")
        raise ImportRefused(
            f"table {schema.name!r}, key column {column!r}: {why}; expected integers or text. Keep or convert the "
            "column, or leave the foreign keys that use it out by --exclude"
        )


def _free(name: str, taken: Iterable[str]) -> str:
    """Returns `name`, with underscores appended until no column has it (in any case)."""
    used = {column.casefold() for column in taken}
    while name.casefold() in used:
        name += "_"
    return name
