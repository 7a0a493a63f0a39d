"""The tables of a catalogue that an import works on, with their names inside, and all that is to be said of the choice.

Promises: what the user names and the database does not have is refused with what there is; a relation that is left out, a schema that is not read, a
column that is read as something else than it is: each has a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distributed.schema.refusals import ImportRefused, Refusals
from distributed.sources.catalogue import Catalogue, SqlTable, Wanted, named, with_keys


def choose_tables(catalogue: Catalogue, wanted: Wanted, display: str) -> tuple[dict[str, SqlTable], list[str]]:
    """Returns the tables by their names inside, and the lines.

    Args:
        catalogue: What the database has.
        wanted: What the user asks for.
        display: The source's name in messages.

    Raises:
        ImportRefused: A schema or a view is not there, or nothing is left to import; it holds all problems.
    """
    _refuse_missing(catalogue, wanted, display)
    tables = named(_read_as_keys(catalogue.tables), catalogue.notes)
    return tables, catalogue.notes + _lines(catalogue, wanted, tables)


def _refuse_missing(catalogue: Catalogue, wanted: Wanted, display: str) -> None:
    refusals = Refusals()
    schemas = sorted({*catalogue.elsewhere, *(table.schema for table in catalogue.tables)})
    if unknown := sorted(set(wanted.schemas or ()) - set(schemas)):
        refusals.problems.append(f"--schemas: no table in {unknown}; schemas with tables: {schemas}")
    known = {name for _, name in catalogue.left_out} | {table.name for table in catalogue.tables}
    known |= {f"{table.schema}.{table.name}" for table in catalogue.tables}
    if missing := sorted(set(wanted.views) - known):
        views = sorted(name for (_, name), why in catalogue.left_out.items() if "--views" in why)
        refusals.problems.append(f"--views: no view {missing} in {display}; it has {views}")
    refusals.refuse()
    if not catalogue.tables:
        others = " ".join(catalogue.elsewhere)
        remedy = f"other schemas have some: --schemas {others}" if others else "check database, user and rights"
        what = f"the schema {catalogue.schemas[0]!r}" if catalogue.schemas != ("",) else "it"
        raise ImportRefused(f"--source {display}: {what} has no table to import; {remedy}")


def _read_as_keys(tables: Sequence[SqlTable]) -> list[SqlTable]:
    referred: dict[tuple[str, str], set[str]] = {}
    for table in tables:
        for key in table.fkeys:
            referred.setdefault((key.parent_schema, key.parent), set()).update(key.parent_columns)
    return [with_keys(table, referred.get((table.schema, table.name), set())) for table in tables]


def _lines(catalogue: Catalogue, wanted: Wanted, tables: Mapping[str, SqlTable]) -> list[str]:
    chosen = " ".join(catalogue.schemas)
    return [
        *(f"{name}: not imported, {why}" for (_, name), why in sorted(catalogue.left_out.items())),
        *(
            f"schema {schema}: its {number} tables are not imported; --schemas {chosen} {schema} imports them"
            for schema, number in sorted(catalogue.elsewhere.items())
        ),
        *(
            f"{name}.{column.name}: {column.note}"
            for name, table in tables.items()
            if wanted.table(table.schema, table.name)
            for column in table.columns.values()
            if column.note
        ),
    ]
