"""How two results differ: the text, and what tells rounding and order from the rest."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tasklineage.core.disparity import disparity


@dataclasses.dataclass
class Model:
    """A result with fields."""

    weights: list[float]
    name: str = "model"


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        (1, 2, "1 → 2"),
        (1, 1.0, "int 1 → float 1.0"),
        (0.0, -0.0, "0.0 → -0.0"),
        ("a", "b", "'a' → 'b'"),
        ("x" * 100, "x" * 70 + "y", "differs from character 70 on"),
        ([1, 2], [1, 3], "[1]: 2 → 3"),
        ([1, 2], [1, 2, 3], "2 → 3 elements"),
        ({"a": 1}, {"a": 2}, "['a']: 1 → 2"),
        ({"a": 1}, {"b": 1}, "['a']: is gone; ['b']: is new"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "another order"),
        ({1, 2}, {2, 3}, "1 elements added, 1 removed"),
        (list(range(9)), list(range(1, 10)), "; and 6 more"),
        (Model([1.0]), Model([2.0]), ".weights[0]: 1.0 → 2.0"),
        (np.array([1, 2]), np.array([1, 3]), "1 of 2 elements (50 %) differ"),
        (np.array([1.0, 2]), np.array([1.0, 4]), "(50 %) differ, by at most 2"),
        (np.array(1.0), np.array(2.0), "1 of 1 elements"),
        (np.zeros(2), np.zeros(3), "float64[2] → float64[3]"),
        (np.array(["a"]), np.array(["b"]), "1 of 1 elements"),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]}), "['a']: 1 of 1 elements"),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), "columns"),
        (pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [1, 2]}), "1 → 2 rows"),
        (pl.DataFrame({"a": [1.5]}), pl.DataFrame({"a": [2.5]}), "['a']: 1 of 1 elements"),
        (None, 1, "NoneType None → int 1"),
    ],
)
def test_the_text_says_where_and_what(before: Any, now: Any, text: str) -> None:
    assert text in disparity(before, now).text


@pytest.mark.parametrize(
    ("before", "now", "is_noise"),
    [
        (0.1, 0.1 + 1e-12, True),
        (0.1, 0.2, False),
        (1, 2, False),
        ([1.0, {"a": 2.0}], [1.0 + 1e-12, {"a": 2.0 + 1e-12}], True),
        ([1.0, "a"], [1.0 + 1e-12, "b"], False),
        (1.0, float("inf"), False),
        (float("nan"), 1.0, False),
        (np.array([1e9, 0.0]), np.array([1e9, 1e-3]), True),
        (np.array([1.0, np.nan]), np.array([1.0 + 1e-12, np.nan]), True),
        (np.array([1.0]), np.array([np.nan]), False),
        (np.array([1], "f4"), np.array([1 + 1e-6], "f4"), True),
        (pd.Series([1.0]), pd.Series([1.0 + 1e-12]), True),
        (1 + 1j, 1 + 1.0000000000001j, True),
    ],
)
def test_rounding_is_noise(before: Any, now: Any, is_noise: bool) -> None:
    assert disparity(before, now).is_noise is is_noise


@pytest.mark.parametrize(
    ("before", "now", "is_order"),
    [
        ([1, 2, 3], [3, 1, 2], True),
        ([1, 2], [1, 1], False),
        ("a,b", "b,a", True),
        ([[1, 2], [3]], [[3], [2, 1]], True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}, False),
        (np.array([1, 2]), np.array([2, 1]), True),
        ([1], [1.0], False),
        ([True], [1], False),
        (0.5, 0.25, False),
    ],
)
def test_parts_in_another_order_are_the_same_parts(before: Any, now: Any, is_order: bool) -> None:
    assert disparity(before, now).is_order is is_order


def test_values_that_raise_when_looked_at_only_have_a_preview() -> None:
    class Hostile(list[int]):
        def __len__(self) -> int:
            raise RuntimeError

    assert "→" in disparity(Hostile(), Hostile()).text


def test_values_that_refer_to_themselves_come_to_an_end() -> None:
    one: list[Any] = [1]
    other: list[Any] = [2]
    one.append(one)
    other.append(other)
    assert disparity(one, other).text.startswith("[0]: 1 → 2")
