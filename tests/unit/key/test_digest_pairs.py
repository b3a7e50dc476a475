"""Values that are nearly the same, and are told apart: each of a group has a digest of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from tasklineage.key.digest import digest


def hard(values: list[int]) -> Any:
    made = np.ma.array(values, mask=[0, 1])
    made.harden_mask()
    return made


def caused(cause: BaseException | None) -> ValueError:
    error = ValueError(1)
    error.__cause__ = cause
    return error


def attached(value: Any, source: str) -> Any:
    object.__setattr__(value, "source", source)
    return value


def category(name: str | None) -> Any:
    return pd.Series(pd.Categorical([1], categories=pd.Index([1], name=name)))


def named_sparse(source: str) -> Any:
    made = sp.csr_array(np.eye(2))
    made.source = source
    return made


def texts(categories: Any) -> Any:
    return pl.Series("a", ["x"], dtype=pl.Categorical(categories))


GROUPS: dict[str, list[Any]] = {
    "hard masks": [np.ma.array([1, 2], mask=[0, 1]), hard([1, 2]), hard([1, 3])],
    "what is masked": [np.ma.array([[1, 2]]), np.ma.array(np.matrix([[1, 2]]))],
    "causes": [caused(None), caused(KeyError(1)), caused(KeyError(2)), caused(caused(None))],
    "titles": [
        np.zeros(2, [("a", "i4")]),
        np.zeros(2, [(("t", "a"), "i4")]),
        np.zeros(2, [(("u", "a"), "i4")]),
    ],
    "names of categories": [category(None), category("a"), category("b")],
    "categories of polars": [
        texts(pl.Categories()),
        texts(pl.Categories("m")),
        texts(pl.Categories("m", "n")),
        texts(pl.Categories("m", physical=pl.UInt8)),
    ],
    "sparse": [sp.csr_array(np.eye(2)), named_sparse("a"), named_sparse("b")],
    **{
        type(make()).__module__ + type(make()).__name__: [
            make(), attached(make(), "a"), attached(make(), "b"),
        ]
        for make in (
            lambda: pd.DataFrame({"a": [1]}),
            lambda: pd.Series([1]),
            lambda: pd.Index([1]),
            lambda: pd.RangeIndex(3),
            lambda: pd.MultiIndex.from_tuples([(1, "x")]),
            lambda: pl.DataFrame({"a": [1]}),
            lambda: pl.Series([1]),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_neighbours_are_told_apart(name: str) -> None:
    assert len(set(map(digest, GROUPS[name]))) == len(GROUPS[name])


def test_looking_at_an_exception_changes_nothing() -> None:
    error = ValueError(1)
    first = digest(error)
    assert vars(error) == {}
    assert digest(error) == first


def test_looking_at_a_frame_attaches_nothing() -> None:
    frame = pd.DataFrame({"a": ["x"]})
    first = digest(frame), digest(frame["a"])
    column = frame["a"]
    assert column.str.upper().tolist() == ["X"]
    assert (digest(frame), digest(column)) == first


def test_quantized_tensors_count_by_content() -> None:
    torch = pytest.importorskip("torch")

    def quantized(value: float, scale: float = 0.1, point: int = 0) -> Any:
        content = torch.full((3,), float(value))
        return torch.quantize_per_tensor(content, scale, point, torch.qint8)

    def by_rows(scale: float, axis: int = 0) -> Any:
        scales, points = torch.tensor([0.1, scale]), torch.tensor([0, 0])
        return torch.quantize_per_channel(torch.ones(2, 2), scales, points, axis, torch.qint8)

    made = [quantized(1), quantized(2), quantized(1, 0.2), quantized(1, point=2)]
    made += [by_rows(0.2), by_rows(0.3), by_rows(0.2, 1)]
    assert len(set(map(digest, made))) == len(made)
    assert digest(quantized(1)) == digest(quantized(1))
    assert digest(by_rows(0.2)) == digest(by_rows(0.2))
