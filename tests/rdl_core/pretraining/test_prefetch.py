"""made_of: the same things made ahead or not, one ahead, errors where they are needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from rdl_core.pretraining.prefetch import made_of


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_all_are_made_once_in_order(ahead: bool, number: int) -> None:
    made: list[int] = []

    def make(item: int) -> int:
        made.append(item)
        return item * item

    assert list(made_of(range(number), make, ahead=ahead)) == [n * n for n in range(number)]
    assert made == list(range(number))


@pytest.mark.parametrize("ahead", [False, True])
def test_all_that_came_before_an_error_are_given_before_it(ahead: bool) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ConnectionError("lost")

    seen: list[int] = []
    with pytest.raises(ConnectionError, match="lost"):
        for item in made_of(items(), lambda n: n, ahead=ahead):
            seen.append(item)
    assert seen == [0, 1, 2]


def test_the_next_is_made_while_this_one_is_used_and_no_more() -> None:
    begun = [threading.Event() for _ in range(4)]

    def make(item: int) -> int:
        begun[item].set()
        return item

    for item in (made := made_of(range(4), make, ahead=True)):
        if item < 3:
            assert begun[item + 1].wait(timeout=10)
        assert not any(event.is_set() for event in begun[item + 2 :])
    assert next(made, None) is None


def test_items_are_taken_in_the_callers_thread_and_made_in_another() -> None:
    threads: dict[str, set[int]] = {"taken": set(), "made": set()}

    def items() -> Iterator[int]:
        for item in range(3):
            threads["taken"].add(threading.get_ident())
            yield item

    def make(item: int) -> int:
        threads["made"].add(threading.get_ident())
        return item

    assert list(made_of(items(), make, ahead=True)) == [0, 1, 2]
    assert threads["taken"] == {threading.get_ident()}
    assert len(threads["made"] | threads["taken"]) == 2


@pytest.mark.parametrize("ahead", [False, True])
def test_an_error_comes_in_place_of_what_was_to_be_made(ahead: bool) -> None:
    def make(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        return item

    seen = []
    with pytest.raises(ValueError, match="item 2"):
        for item in made_of(range(5), make, ahead=ahead):
            seen.append(item)
    assert seen == [0, 1]
