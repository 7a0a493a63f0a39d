"""Numbers as text: plain, with a decimal comma, with separators of thousands; and what only looks like them.

`1,234` is 1234 in one country and 1.234 in another: a column is read in the one notation that fits all its values, and refused where both do.
Leading zeros mean a code (postcode, article number), not a quantity. Integers beyond 64 bits are no floats: they would be rounded.
"""

from __future__ import annotations

from distributed.notations.notation import Notation, Sql, matched

INTEGER = r"0|-?[1-9]\d*"
WHOLE = rf"({INTEGER})([.]0*)?"
CODE = r"-?0\d+|[+]\d{7,}"
"""Digits that are no quantity: leading zeros, telephone numbers."""
INFINITY = r"(?i)[+-]?inf(inity)?"
PLAIN = r"[+-]?((0|[1-9]\d*)([.]\d*)?|[.]\d+)([eE][+-]?\d+)?"
DECORATED = (
    r"(?i)[(]?[+−–-]?\s?([$€£¥₹₽₩]|us[$]|r[$]|usd|eur|gbp|jpy|chf|nok|sek|dkk|kr[.]?|zł|kč)?\s?[+-]?"
    r"(\d{1,3}([.,' ]\d{3})+|\d+)([.,]\d+)?\s?([$€£¥₹₽₩%]|usd|eur|gbp|jpy|chf|nok|sek|dkk|kr[.]?|zł|kč|,-)?[)]?-?"
)
"""Amounts with a currency, percentages, and negative amounts in parentheses."""
MAX_EXACT = 2**53
"""From here on a float may stand for another integer than was written."""


def _integer(text: str) -> str:
    return f"TRY_CAST({text} AS BIGINT)"


def _float(text: str) -> str:
    return f"TRY_CAST({text} AS DOUBLE)"


def _finite(text: str) -> str:
    return f"CASE WHEN isfinite(TRY_CAST({text} AS DOUBLE)) THEN TRY_CAST({text} AS DOUBLE) END"


def _without(separators: str, decimal: str) -> Sql:
    """Returns the SQL of a float whose thousands are grouped by `separators` and whose decimals follow `decimal`."""

    def value(text: str) -> str:
        bare = f"regexp_replace({text}, '{separators}', '', 'g')"
        return _float(f"replace({bare}, ',', '.')" if decimal == "," else bare)

    return value


_SPACES = "[ \u00a0\u202f’''`]"  # the apostrophe doubled, for SQL
_GROUPED = r"(0|[1-9]\d*|[1-9]\d{0,2}(%s\d{3})+)"

INTEGERS = Notation(name="integers", kind="integer", value=matched(INTEGER, _integer), declared="integer")
INTEGERS_AS_FLOATS = Notation(
    # pandas writes integers with nulls as 7.0
    name="integers, some written as 7.0",
    kind="integer",
    value=matched(WHOLE, lambda text: _integer(f"regexp_replace({text}, '[.]0*$', '')")),
)
FLOATS = Notation(
    name="numbers",
    kind="float",
    value=lambda text: (
        f"coalesce({matched(PLAIN, _finite)(text)}, {matched(INFINITY, lambda t: _float(f'lower({t})'))(text)})"
    ),
    declared="number",
)
DECIMAL_COMMA = Notation(
    name="numbers with a decimal comma (1.234,5)",
    kind="float",
    value=matched("-?" + _GROUPED % "[.]" + "(,\\d+)?", _without("[.]", ",")),
    declared="1.234,5",
)
THOUSANDS_COMMA = Notation(
    name="numbers with commas between thousands (1,234.5)",
    kind="float",
    value=matched("-?" + _GROUPED % "," + "([.]\\d+)?", _without(",", ".")),
    declared="1,234.5",
)
SPACED_POINT = Notation(
    name="numbers with blanks or apostrophes between thousands (1 234.5)",
    kind="float",
    value=matched("-?" + _GROUPED % _SPACES.replace("''", "'") + "([.]\\d+)?", _without(_SPACES, ".")),
    declared="1 234.5",
)
SPACED_COMMA = Notation(
    name="numbers with blanks between thousands and a decimal comma (1 234,5)",
    kind="float",
    value=matched("-?" + _GROUPED % _SPACES.replace("''", "'") + "(,\\d+)?", _without(_SPACES, ",")),
    declared="1 234,5",
)
SEPARATED = (DECIMAL_COMMA, THOUSANDS_COMMA, SPACED_POINT, SPACED_COMMA)
