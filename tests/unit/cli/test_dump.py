from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tasklineage.cli.dump import content
from tasklineage.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"\x00\xff", b"\x00\xff"), (bytearray(b"a"), b"a"), ("é\n", "é\n".encode())],
)
def test_bytes_and_text_are_written_as_they_are(value: Any, expected: bytes) -> None:
    assert content(value, Path("x")) == expected


def test_what_json_can_say_is_written_as_json() -> None:
    assert json.loads(content({"a": [1, None]}, Path("x"))) == {"a": [1, None]}


def test_an_array_is_written_as_npy() -> None:
    np = pytest.importorskip("numpy", reason="the value is an array")
    written = content(np.arange(6).reshape(2, 3), Path("x"))
    assert np.load(io.BytesIO(written)).tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ConfigError, match="no form outside Python"):
        content(np.array([object()]), Path("x"))


def test_anything_is_pickled_to_a_name_that_says_so() -> None:
    assert pickle.loads(content({1, 2}, Path("x.pkl"))) == {1, 2}
    with pytest.raises(ConfigError, match=r"a set has no form outside Python: .*\.pkl"):
        content({1, 2}, Path("x.dat"))
