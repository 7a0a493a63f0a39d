"""Refusals: all problems are kept, ten are shown, and an error survives the way from another process."""

from __future__ import annotations

import pickle

import pytest

from distributed.schema.refusals import ImportRefused
from rdl_core.database.column_checks import DatabaseError, Problem
from rdl_core.problems import InputError

PROBLEMS = [Problem(place=f"table {i}", expected="keys", got="none", remedy="add them") for i in range(12)]


def test_one_problem_is_the_text_and_several_are_numbered_once_each() -> None:
    assert str(InputError("a is wrong")) == "a is wrong"
    assert str(InputError("a", "b", "a")) == "2 problems\n1. a\n2. b"
    text = str(InputError(*map(str, range(12)))).splitlines()
    assert (text[0], text[1], text[10], text[11:]) == ("12 problems", "1. 0", "10. 9", ["... and 2 more"])


def test_a_database_error_names_the_folder_and_holds_all_problems() -> None:
    error = DatabaseError("data/shop", PROBLEMS)
    assert str(error).startswith("data/shop: 12 problems\n1. table 0\n   expected keys")
    assert str(error).endswith("... and 2 more")
    assert str(DatabaseError("data/shop", PROBLEMS[:1])).startswith("data/shop: 1 problem\n1. table 0")
    assert error.problems == tuple(PROBLEMS)


@pytest.mark.parametrize("error", [InputError("a", "b"), ImportRefused("a"), DatabaseError("data/shop", PROBLEMS)])
def test_a_refusal_survives_pickling(error: InputError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.problems) == (type(error), str(error), error.problems)
