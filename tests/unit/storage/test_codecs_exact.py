"""What comes back is what was stored, where a format or pickle by itself would lose something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from tasklineage.key.digest import digest
from tasklineage.storage import codecs
from tasklineage.storage.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    root = tmp_path / "store"
    root.mkdir(mode=0o700)
    return Objects(root)


class Measured(np.ndarray[Any, Any]):
    """An array with a unit."""


class Refused(Exception):
    """An exception that pickle cannot make again."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Absent(FileNotFoundError):
    """One whose base keeps fields of its own."""


def refused(cause: BaseException | None = None) -> Any:
    error = Refused(4, reason="no")
    error.__cause__ = cause
    return error


def absent() -> Any:
    error = Absent(2, "gone", "file")
    error.__cause__ = refused()
    return error


class Held:
    """What pickle stores."""

    value: Any


def measured(dtype: str = "i8") -> Any:
    made = np.array([1, 2, 3], dtype).view(Measured)
    made.unit = "m"  # type: ignore[attr-defined]  # a plain attribute
    return made


def hard() -> Any:
    made = np.ma.array([1, 2], mask=[0, 1])
    made.harden_mask()
    return made


def held() -> Any:
    made = Held()
    made.value = np.arange(24, dtype=">f8").reshape(2, 3, 4).transpose(1, 2, 0)
    return made


def attached(value: Any) -> Any:
    object.__setattr__(value, "source", "survey")
    return value


def diagonal(*values: float) -> Any:
    places = np.arange(len(values))
    return sp.coo_array((np.array(values), (places, places)), shape=(3, 3))


def big_endian() -> Any:
    content = np.array([1.0], ">f8"), np.array([0]), np.array([0, 1])
    return sp.csr_array(content, shape=(1, 3))


def named_sparse() -> Any:
    made = sp.csr_array(np.eye(2))
    made.genes = ["a", "b"]
    return made


CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "hard mask": (hard, lambda v: v.hardmask),
    "no mask": (lambda: np.ma.array([1, 2]), lambda v: v.mask is np.ma.nomask),
    "masked matrix": (lambda: np.ma.array(np.matrix([[1, 2]])), lambda v: type(v.data)),
    "masked, big endian": (lambda: np.ma.array(np.array([1, 2], ">i4")), lambda v: v.dtype.str),
    "matrix, big endian": (lambda: np.matrix(np.array([[1]], ">i4")), lambda v: v.dtype.str),
    "attribute of an array": (measured, lambda v: v.unit),
    "subclass, big endian": (lambda: measured(">i4"), lambda v: (v.unit, v.dtype.str)),
    "big endian inside": (held, lambda v: v.value.dtype.str),
    "attribute of a frame": (lambda: attached(pd.DataFrame({"a": [1]})), lambda v: v.source),
    "attribute of a series": (lambda: attached(pd.Series([1])), lambda v: v.source),
    "attribute of an index": (lambda: attached(pd.Index([1])), lambda v: v.source),
    "attribute of a range": (lambda: attached(pd.RangeIndex(3)), lambda v: v.source),
    "attribute of levels": (
        lambda: attached(pd.MultiIndex.from_tuples([(1, "x")])),
        lambda v: v.source,
    ),
    "attribute of a polars frame": (lambda: attached(pl.DataFrame({"a": [1]})), lambda v: v.source),
    "attribute of a polars series": (lambda: attached(pl.Series([1])), lambda v: v.source),
    "name of categories": (
        lambda: pd.Series(pd.Categorical([1], categories=pd.Index([1], name="a"))),
        lambda v: v.cat.categories.name,
    ),
    "series without a name": (lambda: pl.Series([1, None]), lambda v: v.name),
    "texts without a name": (lambda: pl.Series(["a", None]), lambda v: v.name),
    "column without a name": (
        lambda: pl.DataFrame({"": [1], "column_0": ["x"], "b": [[1]]}),
        lambda v: v.columns,
    ),
    "categories of their own": (
        lambda: pl.Series(["a"], dtype=pl.Categorical(pl.Categories("m", "n", pl.UInt8))),
        lambda v: v.dtype,
    ),
    "zero that is stored": (lambda: diagonal(0.0, 2.0).todok(), lambda v: v.nnz),
    "sparse, big endian": (big_endian, lambda v: v.dtype.str),
    "exception with an __init__ of its own": (refused, lambda v: (v.args, v.code)),
    "cause of an exception": (
        lambda: refused(KeyError("x")),
        lambda v: (v.code, repr(v.__cause__), v.__suppress_context__),
    ),
    "cause of an OSError": (absent, lambda v: (v.filename, v.errno, v.__cause__.code)),
    "attribute of a sparse array": (named_sparse, lambda v: v.genes),
}


@pytest.mark.parametrize("limit", [0, codecs.LIMIT])
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost(name: str, limit: int, objects: Objects) -> None:
    make, look = CASES[name]
    value = make()
    for whole, part in ((value, lambda v: v), ([value], lambda v: v[0])):
        ref = codecs.encode(whole, digest(whole), objects.put, limit=limit)
        decoded = codecs.decode(ref, objects.open)
        assert digest(decoded) == ref.digest == digest(whole)
        assert type(part(decoded)) is type(value)
        assert look(part(decoded)) == look(value)


@pytest.mark.parametrize(
    "value",
    [
        pd.MultiIndex.from_tuples([(1, "x")]), pd.RangeIndex(3), pd.date_range("2020", periods=3),
        pd.DataFrame({"a": [1]}), pd.Series(["a"]), pl.Series([1]), pl.DataFrame({"": [1]}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_plain_tables_need_no_pickle(value: Any, objects: Objects) -> None:
    ref = codecs.encode(value, digest(value), objects.put)
    assert ref.codec in ("pandas", "polars")


def test_a_column_without_a_name_can_be_read_alone(objects: Objects) -> None:
    frame = pl.DataFrame({"": [1], "b": ["x"]})
    ref = codecs.encode(frame, digest(frame), objects.put)
    assert codecs.decode_for(ref, "", objects.open)[""].to_list() == [1]
    assert codecs.decode_for(ref, ["b", ""], objects.open)[["b", ""]].columns == ["b", ""]


def test_gradients_and_quantized_tensors_come_back(objects: Objects) -> None:
    torch = pytest.importorskip("torch")
    graded = torch.ones(2, 2, requires_grad=True)
    graded.grad = torch.eye(2).to_sparse()
    graded.source = "survey"
    whole = torch.quantize_per_tensor(torch.tensor([1.0, 2.0]), 0.1, 3, torch.qint8)
    scales, points = torch.tensor([0.1, 0.2]), torch.tensor([0, 1])
    rows = torch.quantize_per_channel(torch.ones(2, 2), scales, points, 0, torch.qint8)
    for value in (graded, whole, rows):
        ref = codecs.encode(value, digest(value), objects.put)
        assert digest(codecs.decode(ref, objects.open)) == ref.digest
    decoded = codecs.decode(codecs.encode(graded, digest(graded), objects.put), objects.open)
    assert decoded.source == "survey"
    assert torch.equal(decoded.grad.to_dense(), torch.eye(2))
