"""The schema that an import works on: read from the source, checked, and turned into one plan per table.

In: what a source declares (`SourceTable`). Out: what a RelBench-3 folder can hold (`TablePlan`): at most one pkey
column, foreign keys of one column, each to one table. Everything that RelBench cannot hold is either refused here,
before a row is read, or left out with a reason that the report repeats. Pure functions, no input or output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from distributed.schema.refusals import ImportRefused, Refusals, exclude_option
from distributed.schema.source_table import ForeignKey, Kind, SourceTable


@dataclass(frozen=True, kw_only=True)
class Link:
    """A foreign key of one column: `column` of the source becomes `out_column`, row numbers of `parent`."""

    column: str
    out_column: str
    parent: str
    parent_column: str


@dataclass(frozen=True, kw_only=True)
class TablePlan:
    """The plan of one table: the columns that are read (keys too), and the source key that orders the rows."""

    name: str
    columns: dict[str, Kind]
    pkey_col: str | None
    pkey_out: str | None
    order_cols: tuple[str, ...]
    links: tuple[Link, ...]
    schema: SourceTable
    left_out: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def key_cols(self) -> set[str]:
        """Columns of the source that become row numbers."""
        keys = {link.column for link in self.links}
        return keys | {self.pkey_col} if self.pkey_col is not None else keys


def plan_tables(
    schemas: Mapping[str, SourceTable], *, tables: Sequence[str] | None, exclude: Iterable[str]
) -> dict[str, TablePlan]:
    """Chooses tables, leaves out what is excluded, and settles every key.

    Args:
        schemas: All tables of the source.
        tables: Names of those to import, None for all; a foreign key to a table outside is left out and reported.
        exclude: `table.column` leaves a column out; `table.a+b` leaves a composite foreign key out, its columns stay.

    Raises:
        ImportRefused: A name is unknown, a foreign key is composite, or names differ only in case; it holds all problems.
    """
    refusals = Refusals()
    chosen = _choose(schemas, tables)
    excluded = _parse_exclude(exclude, chosen)
    reduced = {
        name: _without(schema, {columns[0] for columns in excluded.get(name, set()) if len(columns) == 1})
        for name, schema in chosen.items()
    }
    links: dict[str, tuple[list[Link], dict[str, str]]] = {}
    for name, schema in reduced.items():
        with refusals.each():
            links[name] = _links(schema, chosen, excluded.get(name, set()), schemas[name])
    referenced: dict[str, list[str]] = {}
    for found, _ in links.values():
        for link in found:
            referenced.setdefault(link.parent, []).append(link.parent_column)
    plans: dict[str, TablePlan] = {}
    for name, (found, left_out) in links.items():
        with refusals.each():
            plans[name] = _plan(reduced[name], schemas[name], found, left_out, referenced.get(name, []))
    refusals.refuse()
    return plans


def _choose(schemas: Mapping[str, SourceTable], tables: Sequence[str] | None) -> dict[str, SourceTable]:
    unknown = sorted(set(tables or ()) - set(schemas))
    if unknown:
        raise ImportRefused(
            f"--tables: no table named {unknown}; the source has {sorted(schemas)} (views are not imported)"
        )
    chosen = {name: schemas[name] for name in sorted(schemas if tables is None else set(tables))}
    if not chosen:
        raise ImportRefused("the source has no table to import; check the source, its default schema, or --tables")
    refusals = Refusals()
    with refusals.each():
        _refuse_same_but_case("tables", chosen, "leave one out: --tables with the others")
    for name, schema in chosen.items():
        with refusals.each():
            if "/" in name or "\\" in name or name.startswith("."):
                raise ImportRefused(
                    f"table {name!r}: the name cannot be a file name; leave it out: --tables with the others"
                )
            _refuse_same_but_case(f"table {name!r}: columns", schema.columns, "leave one out by --exclude")
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
        if fkey.parent not in chosen:
            left_out |= dict.fromkeys(fkey.columns, f"foreign key to {fkey.parent!r}, which is not imported")
            continue
        if len(fkey.columns) > 1:
            name = f"{schema.name}.{'+'.join(fkey.columns)}"
            refusals.problems.append(
                f"table {schema.name!r}: composite foreign key {fkey.columns} -> {fkey.parent} {fkey.parent_columns}; "
                f"a RelBench foreign key is one column. Give {fkey.parent!r} a key of one column, or leave "
                f"this foreign key out by {exclude_option(name)} (its columns stay as attributes)"
            )
            continue
        with refusals.each():
            links.append(_link(schema, chosen[fkey.parent], fkey, [link.column for link in links]))
    refusals.refuse()
    taken = {link.column for link in links}
    return links, {column: reason for column, reason in left_out.items() if column not in taken}


def _link(schema: SourceTable, parent: SourceTable, fkey: ForeignKey, taken: list[str]) -> Link:
    column, parent_column = fkey.columns[0], fkey.parent_columns[0]
    if parent_column not in parent.columns:
        raise ImportRefused(
            f"table {schema.name!r}, column {column!r}: refers to {fkey.parent}.{parent_column}, which does not exist; "
            f"expected one of {list(parent.columns)}; correct the schema, or leave the key out by {exclude_option(f'{schema.name}.{column}')}"
        )
    # A second key on one column gets a column of its own: RelBench maps a column to one table.
    out_column = column if column not in taken else _free(f"{column}__{fkey.parent}", schema.columns)
    return Link(column=column, out_column=out_column, parent=fkey.parent, parent_column=parent_column)


def _plan(
    schema: SourceTable, source: SourceTable, links: list[Link], left_out: dict[str, str], referenced: list[str]
) -> TablePlan:
    notes: list[str] = []
    pkey_col = schema.pkey[0] if len(schema.pkey) == 1 else None
    if pkey_col is None and referenced:
        # A foreign key may refer to a unique column of a table without a single-column primary key.
        pkey_col = sorted(set(referenced))[0]
        notes.append(f"{schema.name}: {pkey_col} is taken as pkey, since a foreign key refers to it")
    pkey_out = pkey_col
    if pkey_col in {link.column for link in links}:
        pkey_out = _free(f"{pkey_col}__pkey", schema.columns)
        notes.append(f"{schema.name}: {pkey_col} is primary and foreign key; it stays the fkey, the pkey is {pkey_out}")
    left_out = left_out | {c: why for c, why in schema.unsupported.items() if c in schema.columns}
    columns = {name: kind for name, kind in schema.columns.items() if name not in left_out}
    for column in {link.column for link in links} | ({pkey_col} if pkey_col else set()) | set(referenced):
        if schema.columns.get(column, "unsupported") == "unsupported":
            why = schema.unsupported.get(column, "excluded")
            raise ImportRefused(
                f"table {schema.name!r}, key column {column!r}: {why}; expected integers or text. Keep or convert the "
                "column, or leave the foreign keys that use it out by --exclude"
            )
    order_cols = schema.pkey or ((pkey_col,) if pkey_col else ())
    return TablePlan(
        name=schema.name,
        columns=columns,
        pkey_col=pkey_col,
        pkey_out=pkey_out,
        links=tuple(links),
        schema=schema,
        order_cols=tuple(c for c in order_cols if c in columns) or tuple(columns),
        left_out=left_out,
        notes=tuple(notes),
    )


def _free(name: str, taken: Iterable[str]) -> str:
    """Returns `name`, with underscores appended until no column has it (in any case)."""
    used = {column.casefold() for column in taken}
    while name.casefold() in used:
        name += "_"
    return name
