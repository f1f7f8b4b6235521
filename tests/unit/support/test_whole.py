"""Which tests an ordinary run has: nothing twice, nothing left out of both releases but what is for --all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole import chosen


class Test:
    __test__ = False

    def __init__(self, marks: Sequence[str]) -> None:
        self.marks = marks

    def get_closest_marker(self, name: str) -> Any:
        return name if name in self.marks else None


MARKS = st.lists(st.sampled_from(["whole", "halved"]), unique=True)


@given(st.lists(MARKS, max_size=30))
def test_both_halves_have_everything_once(marks: list[list[str]]) -> None:
    tests = [Test(mine) for mine in marks]
    items = cast("list[pytest.Item]", tests)
    first, second = (chosen(items, half) for half in (0, 1))
    assert chosen(items, None) == [test for test in tests if "whole" not in test.marks]
    for test in items:
        times = (first + second).count(test)
        own = cast("Test", test).marks
        assert times == (0 if "whole" in own else 1 if "halved" in own else 2)
    halves = [[test for test in half if "halved" in test.marks] for half in (first, second)]  # type: ignore[attr-defined]
    assert len(halves[1]) - len(halves[0]) in (0, -1), "neither has more than its half"
