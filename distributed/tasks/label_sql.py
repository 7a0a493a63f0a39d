"""The SQL of a task's labels, made of its target: readable, and without a leak.

    counted   rows of the target's table, each with its entity and its time
    asked     who is asked: entities that are there at the seed time and, if that is wanted, had a row shortly before
    labels    of every asked entity, the target over the rows strictly after the seed time and at most one window after it

Promises: who is asked is a function of rows up to the seed time, but for targets that have no value in an empty window (AVG, MIN, MAX, MODE, NEXT),
which are asked where there is a row; the answer is a function of the rows in the window. Nothing hangs on an order that the tables do not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import duckdb
from relbench.manifest import TableSpec

from distributed.schema.duckdb_sql import quoted
from distributed.tasks.key_path import KeyPath, Path, time_paths
from distributed.tasks.target import Target
from rdl_core.database.label_replay import SEED_TIMES


@dataclass(frozen=True, kw_only=True)
class LabelQuery:
    """All that the SQL is made of.

    Args:
        tables: Keys and times of the dataset.
        entity: Table whose rows are asked about; it has a primary key.
        target: What is asked.
        path: How rows of the target's table belong to entities.
        where: Condition on rows of the target's table, as SQL; None: all rows.
        active_within: Only entities that had a row within this time up to the seed time, as DuckDB's INTERVAL reads it; None: all.
        entity_col, time_col, target_col: Columns of the result.
    """

    tables: Mapping[str, TableSpec]
    entity: str
    target: Target
    path: KeyPath
    where: str | None
    active_within: str | None
    entity_col: str
    time_col: str
    target_col: str

    def sql(self) -> str:
        """Returns the SQL; it ends without a semicolon."""
        parts = [f"{self._name('counted')} AS (\n{_indented(self._counted())}\n)"]
        if self.tables[self.entity].time_col is None and (seen := self._first_seen()):
            parts.append(f"{self._name('seen')} AS (\n{_indented(seen)}\n)")
        parts.append(f"{self._name('asked')} AS (\n{_indented(self._asked())}\n)")
        if self.target.aggregate == "MODE":
            parts.append(f"{self._name('frequencies')} AS (\n{_indented(self._frequencies())}\n)")
        return "WITH " + ",\n".join(parts) + "\n" + self._labels()

    def _name(self, name: str) -> str:
        """Returns a name for a part of the query that no table of the dataset has."""
        taken = {table.casefold() for table in self.tables} | {SEED_TIMES}
        while name in taken:
            name += "_"
        return name

    def _counted(self) -> str:
        target, path = self.target, self.path
        rows = identifier(target.table)
        if self.where is not None:
            rows = f"(SELECT * FROM {rows} WHERE {self.where}) AS {rows}"
        aliases, joins = self._joins(path)
        own = aliases[()]
        entity = f"{aliases[path.to_entity[:-1]]}.{identifier(path.to_entity[-1].column)}"
        dated = target.table if not path.to_time else path.to_time[-1].parent
        time = f"{aliases[path.to_time]}.{identifier(str(self.tables[dated].time_col))}"
        columns = [f"CAST({entity} AS BIGINT) AS entity", f"{time} AS time"]
        known = [f"{entity} IS NOT NULL", f"{time} IS NOT NULL"]
        if target.column is not None:
            value = f"{own}.{identifier(target.column)}"
            columns.append(f"{value} AS value")
            known.append(f"{value} IS NOT NULL")
        if target.aggregate == "NEXT":
            pkey = self.tables[target.table].pkey
            columns.append(f"{own}.{identifier(pkey)} AS number" if pkey else "value AS number")
        return "\n".join(
            [f"SELECT {', '.join(columns)}", f"FROM {rows}", *joins, f"WHERE {' AND '.join(known)}"],
        )

    def _joins(self, path: KeyPath) -> tuple[dict[Path, str], list[str]]:
        """Returns the alias of the table at the end of each way, and the joins that lead there."""
        aliases: dict[Path, str] = {(): identifier(self.target.table)}
        joins = []
        for way in (path.to_entity[:-1], path.to_time):
            for length in range(1, len(way) + 1):
                part = way[:length]
                if part in aliases:
                    continue
                step, alias = part[-1], _free_alias(part[-1].parent, set(aliases.values()))
                key = identifier(str(self.tables[step.parent].pkey))
                named = "" if alias == identifier(step.parent) else f" AS {alias}"
                joins.append(
                    f"JOIN {identifier(step.parent)}{named} ON {alias}.{key} = {aliases[part[:-1]]}.{identifier(step.column)}"
                )
                aliases[part] = alias
        return aliases, joins

    def _first_seen(self) -> str:
        """Returns from when on the rows of an entity table without times are referred to; "" where nothing dates them."""
        parts = []
        for child, spec in self.tables.items():
            ways = list(time_paths(self.tables, child, self.entity))
            for column, parent in spec.fkeys.items():
                if parent == self.entity and len(ways) == 1:  # by several, a row would have several times
                    parts.append(self._seen_by(child, column, ways[0]))
        if not parts:
            return ""
        union = _indented("\nUNION ALL\n".join(parts))
        return f"SELECT entity, MIN(time) AS time\nFROM (\n{union}\n)\nWHERE entity IS NOT NULL AND time IS NOT NULL\nGROUP BY entity"

    def _seen_by(self, child: str, column: str, to_time: Path) -> str:
        alias, joins, used = identifier(child), [], {identifier(child)}
        key = f"{alias}.{identifier(column)}"
        for step in to_time:
            parent = _free_alias(step.parent, used)
            used.add(parent)
            named = "" if parent == identifier(step.parent) else f" AS {parent}"
            pkey = identifier(str(self.tables[step.parent].pkey))
            joins.append(
                f" JOIN {identifier(step.parent)}{named} ON {parent}.{pkey} = {alias}.{identifier(step.column)}"
            )
            alias = parent
        dated = child if not to_time else to_time[-1].parent
        time = f"{alias}.{identifier(str(self.tables[dated].time_col))}"
        return f"SELECT CAST({key} AS BIGINT) AS entity, {time} AS time FROM {identifier(child)}{''.join(joins)}"

    def _asked(self) -> str:
        spec, entity = self.tables[self.entity], identifier(self.entity)
        key = f"{entity}.{identifier(str(spec.pkey))}"
        there = "TRUE"
        if spec.time_col is not None:
            there = f"{entity}.{identifier(spec.time_col)} <= {SEED_TIMES}.timestamp"
        elif self._first_seen():
            entity, key = self._name("seen"), f"{self._name('seen')}.entity"
            there = f"{entity}.time <= {SEED_TIMES}.timestamp"
        lines = [
            f"SELECT {SEED_TIMES}.timestamp AS timestamp, {key} AS entity",
            f"FROM {SEED_TIMES}",
            f"JOIN {entity} ON {there}",
        ]
        if self.active_within is not None:
            counted = self._name("counted")
            lines[0] = lines[0].replace("SELECT", "SELECT DISTINCT", 1)
            lines.append(
                f"JOIN {counted} ON {counted}.entity = {key}"
                f"\n    AND {counted}.time <= {SEED_TIMES}.timestamp"
                f"\n    AND {counted}.time > {SEED_TIMES}.timestamp - INTERVAL '{self.active_within}'"
            )
        return "\n".join(lines)

    def _in_window(self) -> str:
        asked, counted = self._name("asked"), self._name("counted")
        join = "LEFT JOIN" if self.target.is_asked_everywhere else "JOIN"
        return (
            f"FROM {asked}\n{join} {counted}\n    ON {counted}.entity = {asked}.entity\n    AND {counted}.time > {asked}.timestamp\n"
            f"    AND {counted}.time <= {asked}.timestamp + INTERVAL '{{timedelta}}'"
        )

    def _frequencies(self) -> str:
        asked, counted = self._name("asked"), self._name("counted")
        return (
            f"SELECT {asked}.timestamp, {asked}.entity, {counted}.value, COUNT(*) AS frequency\n{self._in_window()}\n"
            f"GROUP BY {asked}.timestamp, {asked}.entity, {counted}.value"
        )

    def _labels(self) -> str:
        source = self._name("frequencies" if self.target.aggregate == "MODE" else "asked")
        rows = f"FROM {source}" if self.target.aggregate == "MODE" else self._in_window()
        entity_col, time_col, target_col = map(identifier, (self.entity_col, self.time_col, self.target_col))
        return "\n".join(
            [
                "SELECT",
                f"    {source}.timestamp AS {time_col},",
                f"    CAST({source}.entity AS BIGINT) AS {entity_col},",
                f"    {self._answer()} AS {target_col}",
                rows,
                f"GROUP BY {source}.timestamp, {source}.entity",
            ]
        )

    def _answer(self) -> str:
        target, counted = self.target, self._name("counted")
        answer = {
            "COUNT": f"COUNT({counted}.time)",
            "EXISTS": f"COUNT({counted}.time) > 0",
            "SUM": f"COALESCE(SUM({counted}.value), 0)",
            "MODE": "FIRST(value ORDER BY frequency DESC, value)",
            "NEXT": f"FIRST({counted}.value ORDER BY {counted}.time, {counted}.number)",
        }.get(target.aggregate, f"{target.aggregate}({counted}.value)")
        if target.operator is not None:
            left = f"({answer})" if target.aggregate == "EXISTS" else answer
            answer = f"{left} {target.operator} {target.value}"
        if target.operator is not None or target.kind in ("boolean", "integer"):
            return f"CAST({answer} AS BIGINT)"
        return f"CAST({answer} AS DOUBLE)" if target.kind == "number" else answer


def identifier(name: str) -> str:
    """Returns a name as SQL, quoted only where it must be."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in _keywords() else quoted(name)


@cache
def _keywords() -> frozenset[str]:
    with duckdb.connect() as con:
        rows: Sequence[tuple[str]] = con.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall()
    return frozenset(name for (name,) in rows) - {
        "time",
        "timestamp",
        "name",
        "date",
        "year",
        "month",
        "day",
        "value",
        "key",
    }


def _free_alias(table: str, taken: set[str]) -> str:
    alias, number = identifier(table), 2
    while alias in taken:
        alias, number = identifier(f"{table}_{number}"), number + 1
    return alias


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
