"""How two results of one call differ, in few words."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from tasklineage.errors import UnhashableArgument
from tasklineage.key.digest import Unresolved, digest
from tasklineage.storage.codecs.describe import preview, type_name

NOISE = 1e-9
"""Relative difference of numbers up to which it may come from the order of additions."""
_SHOWN = 3
_MOST = 1_000
"""Differences that are looked at."""
_CLIPPED = 60
_NUMBERS = (int, float, complex)


class Disparity(NamedTuple):
    """What tells two values apart."""

    text: str
    is_noise: bool = False
    """Whether only numbers differ, and as little as rounding makes them."""
    is_order: bool = False
    """Whether both have the same parts in another order."""


class _Difference(NamedTuple):
    path: str
    text: str
    relative: float = math.inf
    """Of two numbers that differ; infinite: it is no such difference."""
    allowed: float = NOISE


def disparity(before: Any, now: Any) -> Disparity:
    """How the value `now` differs from the value `before`, whose digests differ."""
    try:
        found = list(_first(_differences("", before, now, 0)))
        is_order = _unordered(before, 0) == _unordered(now, 0)
    except Exception:  # values of users run their own code
        return Disparity(f"{_short(before)} → {_short(now)}")
    if not found:
        return Disparity(f"{_short(before)} → {_short(now)}", is_order=is_order)
    shown = "; ".join(f"{one.path}: {one.text}" if one.path else one.text for one in found[:_SHOWN])
    more = len(found) - _SHOWN
    count = f"{more} or more" if len(found) == _MOST else str(more)
    is_noise = all(one.relative <= one.allowed for one in found)
    return Disparity(shown + (f"; and {count} more" if more > 0 else ""), is_noise, is_order)


def _first(differences: Iterator[_Difference]) -> Iterator[_Difference]:
    for _, one in zip(range(_MOST), differences, strict=False):
        yield one


def _differences(path: str, a: Any, b: Any, depth: int) -> Iterator[_Difference]:
    """The differences of two values, in the order of their parts."""
    kind = type(a)
    if a is b:
        return
    if kind is not type(b):
        yield _Difference(path, f"{type_name(kind)} {_short(a)} → {type_name(type(b))} {_short(b)}")
    elif kind in _NUMBERS:
        yield from _of_numbers(path, a, b)
    elif kind is str or kind is bytes:
        yield from _of_texts(path, a, b)
    elif depth > 50:
        yield from _of_others(path, a, b)
    elif kind is dict:
        yield from _of_dicts(path, a, b, depth)
    elif kind is set or kind is frozenset:
        if a != b:
            yield _Difference(path, f"{len(b - a)} elements added, {len(a - b)} removed")
    elif kind is list or issubclass(kind, tuple):
        yield from _of_sequences(path, a, b, depth)
    elif _is_array(kind):
        yield from _of_arrays(path, a, b)
    elif hasattr(a, "columns") and hasattr(a, "shape") and hasattr(a, "__getitem__"):
        yield from _of_frames(path, a, b, depth)
    elif hasattr(a, "to_numpy"):
        yield from _differences(path, a.to_numpy(), b.to_numpy(), depth + 1)
    elif type(getattr(a, "__dict__", None)) is dict and vars(a):
        yield from _of_dicts(path, vars(a), vars(b), depth, "{}.{}")
    else:
        yield from _of_others(path, a, b)


def _of_numbers(path: str, a: Any, b: Any) -> Iterator[_Difference]:
    if a == b or (a != a and b != b):
        if repr(a) != repr(b):
            yield _Difference(path, f"{a!r} → {b!r}")
        return
    scale, gap = max(abs(a), abs(b)), abs(a - b)
    is_exact = isinstance(a, int) or not math.isfinite(gap)
    relative = math.inf if is_exact else gap / scale
    yield _Difference(path, f"{_short(a)} → {_short(b)}", relative)


def _of_texts(path: str, a: Any, b: Any) -> Iterator[_Difference]:
    if a != b:
        if len(a) <= _CLIPPED and len(b) <= _CLIPPED:
            yield _Difference(path, f"{a!r} → {b!r}")
            return
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
        at = min(len(a), len(b)) if at is None else at
        start = max(0, at - 10)
        around = f"{a[start : at + 30]!r} → {b[start : at + 30]!r}"
        yield _Difference(path, f"differs from character {at} on: {around}")


def _of_dicts(
    path: str, a: dict[Any, Any], b: dict[Any, Any], depth: int, form: str = "{}[{!r}]"
) -> Iterator[_Difference]:
    for key in a:
        if key not in b:
            yield _Difference(form.format(path, key), "is gone")
        else:
            yield from _differences(form.format(path, key), a[key], b[key], depth + 1)
    for key in b:
        if key not in a:
            yield _Difference(form.format(path, key), "is new")
    if list(a) != list(b) and a.keys() == b.keys():
        yield _Difference(path, "the keys come in another order")


def _of_sequences(path: str, a: Any, b: Any, depth: int) -> Iterator[_Difference]:
    if len(a) != len(b):
        yield _Difference(path, f"{len(a)} → {len(b)} elements")
    names = getattr(type(a), "_fields", None)
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        inside = f"{path}[{i}]" if names is None else f"{path}.{names[i]}"
        yield from _differences(inside, x, y, depth + 1)


def _of_arrays(path: str, a: Any, b: Any) -> Iterator[_Difference]:
    import numpy as np

    if a.dtype != b.dtype or a.shape != b.shape:
        yield _Difference(path, f"{a.dtype}{list(a.shape)} → {b.dtype}{list(b.shape)}")
        return
    if a.dtype.kind not in "fc":
        differing = int(np.count_nonzero(np.atleast_1d(a != b)))
        if differing:
            yield _Difference(path, f"{_share(differing, a.size)} differ")
        return
    is_other = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    differing = int(np.count_nonzero(is_other))
    if differing:
        scale = float(np.nanmax(np.abs(np.where(np.isfinite(a), a, 0)))) or 1.0
        gaps = np.abs(a[is_other] - b[is_other]) if a.ndim else np.abs(a - b)
        greatest = float(np.max(gaps))
        relative = greatest / scale if math.isfinite(greatest) else math.inf
        allowed = max(NOISE, 64 * float(np.finfo(a.dtype).eps))
        text = f"{_share(differing, a.size)} differ, by at most {greatest:.3g}"
        yield _Difference(path, text, relative, allowed)


def _of_frames(path: str, a: Any, b: Any, depth: int) -> Iterator[_Difference]:
    before, now = list(a.columns), list(b.columns)
    if before != now:
        yield _Difference(path, f"columns {_short(before)} → {_short(now)}")
    elif a.shape != b.shape:
        yield _Difference(path, f"{a.shape[0]} → {b.shape[0]} rows")
    else:
        for name in before:
            yield from _differences(f"{path}[{name!r}]", a[name], b[name], depth + 1)


def _of_others(path: str, a: Any, b: Any) -> Iterator[_Difference]:
    if _digest(a) != _digest(b):
        yield _Difference(path, f"{_short(a)} → {_short(b)}")


def _unordered(value: Any, depth: int) -> Any:
    """What stays the same of a value when its parts come in another order."""
    kind = type(value)
    if kind is str:
        return sorted(value)
    if depth > 20:
        return _digest(value)
    if _is_array(kind) and value.size <= _MOST * 10:
        value, kind = value.reshape(-1).tolist(), list
    if kind is dict:
        value, kind = list(value.items()), list
    if kind in (list, tuple, set, frozenset):
        return sorted(repr(_unordered(part, depth + 1)) for part in value)
    return _digest(value)


def _is_array(kind: type) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(kind, numpy.ndarray)


def _share(count: int, size: int) -> str:
    percent = 100 * count / size
    return f"{count} of {size} elements ({percent:.3g} %)"


def _digest(value: Any) -> Any:
    try:
        return digest(value)
    except (UnhashableArgument, Unresolved):
        return id(value)


def _short(value: Any) -> str:
    text = " ".join(preview(value).split())
    return text if len(text) <= _CLIPPED else f"{text[: _CLIPPED - 1]}…"
