"""The type of one column, judged by all its values: a type that nearly all values have is never given up in silence.

Text of a source that has no types (CSV) may be integers, numbers, booleans or times; text of a source that declares types only times. Where at
least 90 % of the values have one notation and the rest has not, the column is refused with its first rows; where at least half have, it stays text
with a note.
"""

from __future__ import annotations

from dataclasses import replace

from distributed.notations import epochs, numbers, times
from distributed.notations.column import NOTED_SHARE, REFUSED_SHARE, ColumnType, StagedColumn
from distributed.notations.declared_formats import declared_type
from distributed.notations.notation import Notation, matched
from distributed.notations.null_values import spelled_null
from distributed.notations.time_columns import (
    TEXT_TIMES,
    counts,
    declared_time_type,
    fitting,
    iso_type,
    named_time_type,
    near_times,
    time_type,
    weak_time,
)
from distributed.schema.duckdb_sql import first_row
from distributed.schema.refusals import ImportRefused
from distributed.schema.source_table import Kind

_BOOLEANS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"))
_DIGIT = matched(r"(?s)[^\d]{0,20}\d.{0,70}", lambda text: text)


def column_type(column: StagedColumn, kind: Kind, *, declares_types: bool) -> ColumnType:
    """Returns the type of a column that is staged as `kind`.

    Raises:
        ImportRefused: Values cannot be read, or can be read in two ways; the message names rows, values and the remedy.
    """
    declared_format = column.plan.schema.declared.formats.get(column.name)
    if declared_format is not None:
        found = declared_type(column, kind, declared_format)
    elif kind in ("text", "text_time"):
        found = _of_text(column, kind, declares_types=declares_types)
    else:
        found = _of_values(column, kind)
    return column.finished(found)


def _of_values(column: StagedColumn, kind: Kind) -> ColumnType:
    plain = ColumnType(expression=column.sql, kind=kind)
    if kind not in ("integer", "float"):
        return plain
    if kind == "float" and not column.is_time:
        plain = _real(column)
    if column.is_time:
        return declared_time_type(column, kind)
    if column.is_key:
        return plain
    named = named_time_type(column, kind)
    if named is not None:
        return named
    return replace(
        plain, weak_time=weak_time(column, kind), notes=_like_dates(column) if kind == "integer" else plain.notes
    )


def _real(column: StagedColumn) -> ColumnType:
    """Floats of a source with types: NaN is null, infinities and numbers beyond what a float can tell apart are said."""
    nan, infinite, large = column.counts(
        "CASE WHEN isnan(v) THEN 1 END",
        "CASE WHEN isinf(v) THEN 1 END",
        f"CASE WHEN isfinite(v) AND abs(v) >= {numbers.MAX_EXACT} THEN 1 END",
    )
    notes = []
    if infinite:
        notes.append(f"{column.label}: {infinite:,} values are infinite; materialize takes them as null")
    if large:
        notes.append(
            f"{column.label}: {large:,} numbers are 2^53 or more, where a float does not tell neighbouring integers apart; were they "
            "ids, write them as integers or text at the source"
        )
    value = f"CASE WHEN isnan({column.sql}) THEN NULL ELSE {column.sql} END" if nan else column.sql
    return ColumnType(expression=value, kind="float", notes=tuple(notes), nulls={"NaN": nan} if nan else {})


def _like_dates(column: StagedColumn) -> tuple[str, ...]:
    """Returns the note on integers that can all be times written as digits, in a column that is not named like a time."""
    least, most = first_row(column.con, f"SELECT min({column.sql}), max({column.sql}) FROM {column.staged}") or (
        None,
        None,
    )
    for reading in (
        epochs.YYYYMMDD,
        epochs.YYYYMMDDHHMMSS,
        epochs.UNIX_S,
        epochs.UNIX_MS,
    ):
        if least is None or least < reading.first or most > reading.last:
            continue
        value = reading.time(epochs.of_integers("v"))
        total, days = column.counts("v", value)
        if days == total:
            return (
                f"{column.label}: all {total:,} numbers could be times ({reading.name}); they are read as numbers, since the name says "
                f"nothing of time; --time-cols {column.plan.name} {column.name} reads them as the times of the rows",
            )
    return ()


def _of_text(column: StagedColumn, kind: Kind, *, declares_types: bool) -> ColumnType:
    if column.is_time or kind == "text_time":
        return declared_time_type(replace(column, is_time=True), "text")
    if column.plan.schema.declared.stype.get(column.name) in ("text", "text_embedded"):
        return _text(column)
    if column.is_key:
        return _text(column) if declares_types else _key(column)
    return _declared_text(column) if declares_types else _any_text(column)


def _text(column: StagedColumn, *notes: str) -> ColumnType:
    null = spelled_null(column.trimmed, column.added_nulls, is_typed=False)
    if null == "false":
        return ColumnType(expression=column.sql, kind="text", notes=notes)
    return ColumnType(
        expression=f"CASE WHEN {null} THEN NULL ELSE {column.sql} END",
        kind="text",
        notes=notes,
        nulls=column.spelled_nulls(is_typed=False),
    )


def _as(column: StagedColumn, notation: Notation, *notes: str, reading: str = "") -> ColumnType:
    return ColumnType(
        expression=notation.value(column.sql),
        clean=column.text,
        kind=notation.kind,
        reading=reading,
        notes=notes,
        nulls=column.spelled_nulls(is_typed=True),
    )


def _exact_text(column: StagedColumn, number: int) -> ColumnType:
    return ColumnType(
        expression=column.sql,
        clean=column.text,
        kind="text",
        reading="integers beyond 64 bits, as text",
        notes=(f"{column.label}: {number:,} integers do not fit 64 bits; the column is kept as text, digit by digit",),
        nulls=column.spelled_nulls(is_typed=True),
    )


def _key(column: StagedColumn) -> ColumnType:
    """Keys are integers if all of them are, else text."""
    digits = matched(numbers.WHOLE, lambda text: text)("v")
    fraction = matched(r"-?\d+[.]0*", lambda text: text)("v")
    rounded = f"CASE WHEN {fraction} IS NOT NULL AND abs(TRY_CAST(v AS DOUBLE)) >= {numbers.MAX_EXACT} THEN 1 END"
    total, fit, wholes, num_rounded = column.counts("v", numbers.INTEGERS_AS_FLOATS.value("v"), digits, rounded)
    if num_rounded:
        row = column.examples(f"{rounded} IS NOT NULL")[0]
        raise ImportRefused(
            f"{column.where}, {column.place(row)}: the key {row[1]!r} was a float when it was written, and floats beyond 2^53 are rounded, so "
            "different keys may be equal here; expected integers; write the column anew as integers, or "
            f"leave it out by {column.exclude}"
        )
    if total and fit == total:
        return _as(column, numbers.INTEGERS_AS_FLOATS)
    if total and wholes == total:
        return _exact_text(column, total - fit)
    if fit >= max(NOTED_SHARE * total, 1):
        return _text(
            column,
            f"{column.label}: {fit:,} of {total:,} keys are integers, the others are not; all are compared as text",
        )
    return _text(column)


def _declared_text(column: StagedColumn) -> ColumnType:
    """Text of a source that has types of its own: it may hide times, no more."""
    (total, promising) = column.counts("v", _DIGIT("v"))
    if not total or promising < NOTED_SHARE * total:
        return _text(column)
    ready = iso_type(column) or named_time_type(column, "text")
    if ready is not None:
        return ready
    total, found = counts(column, TEXT_TIMES)
    chosen = fitting(column, TEXT_TIMES, found, total)
    if chosen is not None:
        return time_type(column, chosen)
    unread = _unread_dates(column, total, may_refuse=max(found) < REFUSED_SHARE * total)
    return _text(column, *(near_times(column, TEXT_TIMES, found, total) or unread))


def _any_text(column: StagedColumn) -> ColumnType:
    """Text of a source without types."""
    code, infinity = matched(numbers.CODE, lambda text: text), matched(numbers.INFINITY, lambda text: text)
    whole = matched(numbers.INTEGER, lambda text: text)
    tests = (numbers.INTEGERS.value, whole, code, numbers.FLOATS.value, infinity, times.ISO.value, _DIGIT)
    total, raw, *found = column.counts("v", "raw", *(test("v") for test in tests))
    integers, wholes, codes, floats, infinite, iso, promising = found
    if total == 0:
        spelled = ", ".join(map(repr, column.spelled_nulls(is_typed=True)))
        note = f"{column.label}: all its {raw:,} values are spellings of null ({spelled}); kept as text"
        return _text(column, *([note] if raw else []))
    if integers == total:
        return named_time_type(column, "text") or _integers(column)
    if wholes == total:
        return _exact_text(column, wholes - integers)
    if wholes + codes == total:
        if epochs.says_date(column.name) and column.counts(times.UNSEPARATED.value("v")) == (total,):
            column.refuse_unsaid(total, total, f"dates ({times.UNSEPARATED.name})", '"%d%m%Y"')
        return _text(column)
    if column.plan.schema.declared.decimal == ",":  # so that 1.234 is no float
        marked = _separated(column, list(column.counts(*(n.value("v") for n in numbers.SEPARATED))), total)
        if marked is not None:
            return marked
    if column.plan.schema.declared.decimal == "," and (number := _with_decimal_comma(column, total)):
        return number
    if floats == total:
        if column.is_key_part and column.counts(numbers.INTEGERS_AS_FLOATS.value("v")) == (total,):
            return _as(column, numbers.INTEGERS_AS_FLOATS)  # 7.0 beside a 7 of the parent
        if column.plan.schema.declared.decimal == ",":
            pointed = "v IS NOT NULL AND contains(v, '.')"
            what = 'numbers with a decimal point, though the schema file says `decimal: ","`'
            column.refuse_unsaid(floats, total, what, "number", condition=pointed)
        return named_time_type(column, "text") or _exact_wholes(column, total) or _floats(column, infinite)
    if iso == total:
        return iso_type(column) or _text(column)
    if 2 * total > 2 * promising:
        boolean = _boolean(column, total)
        if boolean is not None:
            return boolean
    if promising < NOTED_SHARE * total:
        return _text(column)
    return _other_notations(column, floats, codes)


def _integers(column: StagedColumn) -> ColumnType:
    plain = _as(column, numbers.INTEGERS)
    values = f"(SELECT {column.text} AS {column.sql} FROM {column.staged})"
    relation = replace(column, is_text=False, staged=f"(SELECT {plain.expression} AS {column.sql} FROM {values})")
    return replace(plain, weak_time=weak_time(column, "text"), notes=_like_dates(relation))


def _exact_wholes(column: StagedColumn, total: int) -> ColumnType | None:
    """Integers written as 1234567890123456789.0, of which some are too large for a float."""
    whole = numbers.INTEGERS_AS_FLOATS.value("v")
    fit, large = column.counts(whole, f"CASE WHEN abs({whole}) >= {numbers.MAX_EXACT} THEN 1 END")
    if fit < total or not large:
        return None
    note = f"{column.label}: read as integers, since floats would lose the last digits of {large:,} values"
    return _as(column, numbers.INTEGERS_AS_FLOATS, note, reading=numbers.INTEGERS_AS_FLOATS.name)


def _floats(column: StagedColumn, infinite: int) -> ColumnType:
    whole = matched(numbers.WHOLE, lambda text: text)("v")
    (large,) = column.counts(
        f"CASE WHEN {whole} IS NOT NULL AND abs(TRY_CAST(v AS DOUBLE)) >= {numbers.MAX_EXACT} THEN 1 END"
    )
    notes = []
    if infinite:
        notes.append(f"{column.label}: {infinite:,} values are infinite; materialize takes them as null")
    if large:
        notes.append(
            f"{column.label}: {large:,} integers beyond 2^53 among numbers with decimals lose their last digits"
        )
    return replace(_as(column, numbers.FLOATS, *notes), weak_time=weak_time(column, "text"))


def _boolean(column: StagedColumn, total: int) -> ColumnType | None:
    """Two words that mean true and false; but for true and false themselves both must occur."""
    for yes, no in _BOOLEANS:
        yes_count, no_count = column.counts(
            f"CASE WHEN lower(v) = '{yes}' THEN 1 END", f"CASE WHEN lower(v) = '{no}' THEN 1 END"
        )
        if yes_count + no_count == total and (yes == "true" or (yes_count and no_count)):
            notes = () if yes == "true" else (f"{column.label}: read as booleans, {yes} and {no}",)
            return ColumnType(
                clean=column.text,
                expression=f"CASE lower({column.sql}) WHEN '{yes}' THEN true WHEN '{no}' THEN false END",
                kind="boolean",
                reading="" if yes == "true" else f"{yes}/{no}",
                notes=notes,
                nulls=column.spelled_nulls(is_typed=True),
            )
        if yes == "true" and yes_count + no_count >= NOTED_SHARE * total:
            return _text(
                column,
                f"{column.label}: {yes_count + no_count:,} of {total:,} values are booleans, the others are not; it stays text",
            )
    return None


def _other_notations(column: StagedColumn, floats: int, codes: int) -> ColumnType:
    total, found = counts(column, TEXT_TIMES)
    chosen = fitting(column, TEXT_TIMES, found, total)
    if chosen is not None:
        return time_type(column, chosen)
    decorated = matched(numbers.DECORATED, lambda text: text)("v")
    (short_years, amounts, *separated) = column.counts(
        matched(times.SHORT_YEAR_PATTERN, lambda text: text)("v"),
        decorated,
        *(notation.value("v") for notation in numbers.SEPARATED),
    )
    number = _separated(column, separated, total)
    if number is not None:
        return number
    if short_years >= REFUSED_SHARE * total:
        column.refuse_unsaid(short_years, total, "dates with years of two digits", '"%d/%m/%y"')
    unread = _unread_dates(column, total, may_refuse=max(found) < REFUSED_SHARE * total)
    notes = near_times(column, TEXT_TIMES, found, total) or unread
    best = max([floats, *separated])
    if amounts >= REFUSED_SHARE * total and amounts > best:
        column.refuse_unsaid(
            amounts, total, "numbers with a currency, a percent sign, two decimal marks or another addition", None,
            condition=f"{decorated} IS NOT NULL AND ({numbers.FLOATS.value('v')}) IS NULL",
        )  # fmt: skip
    if best >= REFUSED_SHARE * total and not codes:
        notation = numbers.FLOATS if floats == best else numbers.SEPARATED[separated.index(best)]
        column.refuse_misfits(notation.value("v"), notation.name, best, total, notation='"1.234,5"')
    if max(best, amounts) >= NOTED_SHARE * total and not notes:
        notes = (
            f"{column.label}: {max(best, amounts):,} of {total:,} values are numbers, the others are not; it stays text",
        )
    return _text(column, *notes)


def _unread_dates(column: StagedColumn, total: int, *, may_refuse: bool) -> tuple[str, ...]:
    """Returns the note on text that a reader takes for months or quarters, in a notation that is not read by itself.

    Raises:
        ImportRefused: Nearly all values are days, in a notation that is not read by itself, or in several.
    """
    day = matched(times.UNREAD_DATE_PATTERN, lambda text: text)("v")
    coarse = matched(times.COARSE_PATTERN, lambda text: text)("v")
    clock = matched(times.CLOCK_PATTERN, lambda text: text)("v")
    days, coarse_days, clocks = column.counts(day, coarse, clock)
    if clocks >= NOTED_SHARE * total:
        return (f"{column.label}: {clocks:,} of {total:,} values are times of day, which stay text",)
    if may_refuse and days >= REFUSED_SHARE * total:
        what = "dates in a notation of their own, or in several"
        column.refuse_unsaid(days, total, what, '"%d-%b-%y %H:%M"', condition=f"{day} IS NOT NULL")
    number, what = max((coarse_days, "months, quarters or weeks"), (days, "dates"))
    if number < NOTED_SHARE * total:
        return ()
    return (
        f"{column.label}: {number:,} of {total:,} values look like {what}, in a notation that is not read by itself; it stays text, and "
        f'`formats: {{{column.name}: "%m/%Y"}}` or the like in the schema file, under {column.plan.name}, reads it as times',
    )


def _with_decimal_comma(column: StagedColumn, total: int) -> ColumnType | None:
    """Numbers of a table of which the schema file says that its decimals follow a comma: its points stand between thousands."""
    for notation in (numbers.DECIMAL_COMMA, numbers.SPACED_COMMA):
        if column.counts(notation.value("v")) == (total,):
            return _as(column, notation, reading=notation.name)
    return None


def _separated(column: StagedColumn, separated: list[int], total: int) -> ColumnType | None:
    mark = column.plan.schema.declared.decimal
    fit = [
        notation
        for notation, number in zip(numbers.SEPARATED, separated, strict=True)
        if number == total and (mark is None or str(notation.declared).endswith(f"{mark}5"))
    ]
    if not fit:
        return None
    for other in fit[1:]:
        rows = column.examples(f"{fit[0].value('v')} <> {other.value('v')}", fit[0].value("v"), other.value("v"))
        if rows:
            row = rows[0]
            raise ImportRefused(
                f"{column.where}, {column.place(row)}: {row[1]!r} is {row[3]} with a decimal comma and {row[4]} with a comma between thousands, "
                f"and all {total:,} values leave both open; say which in the schema file, under {column.plan.name}: "
                f'`formats: {{{column.name}: "{fit[0].declared}"}}` or `formats: {{{column.name}: "{other.declared}"}}`, or leave it '
                f"out by {column.exclude}"
            )
    return _as(column, fit[0], f"{column.label}: read as {fit[0].name}", reading=fit[0].name)
