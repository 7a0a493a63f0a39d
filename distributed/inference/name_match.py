"""The evidence in a column's name for the table that it refers to: words are compared, never whole databases.

In: names of tables and columns as they are spelled (`ShipToCustomerID`, `order_lines`, `id_cliente`). Out: similarities between 0 and 1. Both
sides go through the same reduction (words, singular, without words for "key"), so that what it does wrong it does wrong on both.
Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


def word_set(text: str) -> frozenset[str]:
    """Returns the words of a text."""
    return frozenset(text.split())


KEY_WORDS = word_set("id key code no nr num number ref pk fk sk bk uid uuid guid oid identifier nummer")
"""Words that say "this is a key" and not of what."""
STRONG_KEY_WORDS = word_set("id key pk fk sk uid uuid guid oid identifier")
ORDINAL_WORDS = word_set(
    "line position pos seq sequence sequential rank index idx item row version step ordinal no nr num number part"
)
"""Words of a column that counts within a parent: the rest of a composite key."""
SELF_WORDS = word_set("parent ancestor root super superior predecessor")
"""Words for another row of the same table, whatever the table holds."""
ROLE_WORDS = word_set(
    "manager boss supervisor lead leader mentor referrer referred referral report replace previous prev next original"
)
"""Words that often mean another row of the same table, and sometimes a row of another one."""
MEASURE_WORDS = word_set(
    "count total sum avg average mean min max qty quantity amount price cost rate ratio share percent pct score level size weight "
    "age year month day week hour minute quarter season"
)
"""Words of quantities: small whole numbers, which every dense key contains."""
_COUNT_WORDS = word_set("num number nb no nr n")
_TABLE_WORDS = word_set("tbl tb tab table dim fact fct stg raw src dataset data mst master t")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_A-Za-z]+")


@dataclass(frozen=True, kw_only=True)
class ColumnName:
    """A column's name in words.

    Args:
        words: All words, singular.
        stem: Those that are left without key words at either end and without a number at the end.
        has_key_word: Whether key words were there.
        has_strong_key_word: Whether one of them means a key and nothing else (`id`, not `number`).
    """

    words: tuple[str, ...]
    stem: tuple[str, ...]
    has_key_word: bool
    has_strong_key_word: bool

    @property
    def is_measure(self) -> bool:
        """Tells whether the name says that this is a quantity or a part of a date."""
        is_count = len(self.words) > 1 and self.words[0] in _COUNT_WORDS
        return not self.has_strong_key_word and (is_count or bool(MEASURE_WORDS & set(self.words)))


def words_of(name: str) -> tuple[str, ...]:
    """Returns the words of a name in lower case and singular; camel case, underscores, spaces and digits part them."""
    return tuple(_singular(word.casefold()) for word in _WORD.findall(name))


def column_name(name: str) -> ColumnName:
    """Returns a column's name in words."""
    words = words_of(name)
    stem = list(words)
    taken: set[str] = set()
    while len(stem) > 1 and stem[-1].isdigit():
        stem.pop()
    while stem and stem[-1] in KEY_WORDS:
        taken.add(stem.pop())
    while stem and stem[0] in STRONG_KEY_WORDS:
        taken.add(stem.pop(0))
    while len(stem) > 1 and stem[-1].isdigit():
        stem.pop()
    return ColumnName(
        words=words, stem=tuple(stem), has_key_word=bool(taken), has_strong_key_word=bool(taken & STRONG_KEY_WORDS)
    )


def entities(tables: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns what a row of each table is, in words: without `tbl_`, `dim_` …, and without words that all of three or more tables share."""
    words = {table: list(words_of(table)) for table in tables}
    while len(words) > 2 and all(len(w) > 1 for w in words.values()) and len({w[0] for w in words.values()}) == 1:
        words = {table: w[1:] for table, w in words.items()}
    while len(words) > 2 and all(len(w) > 1 for w in words.values()) and len({w[-1] for w in words.values()}) == 1:
        words = {table: w[:-1] for table, w in words.items()}
    for parts in words.values():
        while len(parts) > 1 and parts[0] in _TABLE_WORDS:
            parts.pop(0)
        while len(parts) > 1 and (parts[-1] in _TABLE_WORDS or parts[-1].isdigit()):
            parts.pop()
    return {table: tuple(parts) for table, parts in words.items()}


def similarity_to_parent(column: str, entity: tuple[str, ...], key: str) -> float:
    """Returns how much a column's name says "key of this table": 1 the very words, 0 nothing.

    Args:
        column: The column that may refer.
        entity: What a row of the other table is (`entities`).
        key: The other table's key.
    """
    name, key_name = column_name(column), column_name(key)
    stem = name.stem
    if stem and stem == entity:
        return 1.0
    if key_name.stem and name.words == key_name.words:
        return 1.0 if _is_of(key_name.stem, entity) else 0.95
    glued, entity_glued = "".join(name.words), "".join(entity)
    if _is_glued_key(glued, entity_glued):
        return 1.0
    if _ends_with(stem, entity) or (key_name.stem and _ends_with(name.words, key_name.words)):
        return 0.9
    if len(entity_glued) > 3 and any(glued.endswith(entity_glued + word) for word in ("id", "key", "uuid")):
        return 0.9
    if not name.has_key_word:
        return 0.0
    if stem and (_ends_with(entity, stem) or _abbreviates(stem, entity)):
        return 0.7
    return 0.6 if len(stem) > len(entity) and stem[: len(entity)] == entity else 0.0


def similarity_to_self(column: str) -> float:
    """Returns how much a column's name says "another row of this table" (`parent_id`, `manager`)."""
    name = column_name(column)
    if set(name.stem) & SELF_WORDS and (name.has_key_word or len(name.stem) == 1):
        return 0.8
    return 0.5 if set(name.stem) & ROLE_WORDS and name.has_key_word or name.words[:2] == ("report", "to") else 0.0


def similarity_to_own_key(column: str, entity: tuple[str, ...], *, is_first: bool, names_another: bool) -> float:
    """Returns how much a column's name says "the key of this table".

    Args:
        column: The column.
        entity: What a row of the table is.
        is_first: Whether it is the table's first column.
        names_another: Whether the name is the very one of another table.
    """
    name = column_name(column)
    if _is_glued_key("".join(name.words), "".join(entity)) or (name.has_key_word and name.stem in ((), entity)):
        return 1.0 if name.has_strong_key_word or is_first else 0.9
    if names_another:
        return 0.4
    if name.has_key_word and (_ends_with(name.stem, entity) or _ends_with(entity, name.stem)):
        return 0.9
    if name.has_strong_key_word or (name.has_key_word and is_first):
        return 0.8 if is_first else 0.6
    if name.stem == entity:
        return 0.7
    return 0.5 if is_first and not name.is_measure else 0.3


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes", "uses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return {"people": "person", "children": "child"}.get(word, word)


def _is_glued_key(glued: str, entity: str) -> bool:
    """Returns whether `customerid` is the entity and a key word, without anything between."""
    return len(entity) > 1 and glued.startswith(entity) and glued[len(entity) :] in KEY_WORDS


def _is_of(stem: tuple[str, ...], entity: tuple[str, ...]) -> bool:
    return stem == entity or _ends_with(stem, entity) or _ends_with(entity, stem)


def _ends_with(words: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return 0 < len(end) < len(words) and words[-len(end) :] == end


def _abbreviates(stem: tuple[str, ...], entity: tuple[str, ...]) -> bool:
    """Returns whether each word of the stem is short for the entity's: `cust`, `dept`; words before it are a role."""
    if not 0 < len(entity) <= len(stem):
        return False
    pairs = list(zip(stem[-len(entity) :], entity, strict=True))
    return all(short == long or _is_short_for(short, long) for short, long in pairs)


def _is_short_for(short: str, long: str) -> bool:
    if not 3 <= len(short) < len(long) or short[0] != long[0]:
        return False
    letters = iter(long)
    return all(letter in letters for letter in short)
