"""Short texts for objects: what they are made of, in the words of their type.

No method of a user's class is called: neither `__repr__` nor `__str__` nor a property.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from tasklineage.storage.codecs import standard
from tasklineage.storage.codecs.classes import is_enum, named_fields, record_of

_MOST_ITEMS = 6
_LONGEST = 120

Show = Callable[[Any, int], str]
"""The text of a part at a level."""


def shown_object(value: Any, level: int, show: Show) -> str | None:
    """The text of an object; None where only its type can be told."""
    kind: Any = type(value)
    top = kind.__module__.partition(".")[0] if type(kind.__module__) is str else ""
    if top in _BY_LIBRARY:
        try:
            text = _BY_LIBRARY[top](value)
        except Exception:  # noqa: BLE001 - a text for people is worth no failed call
            text = None
        if text is not None:
            return text
    elif top == "collections" or top == "types":
        return _collection(value, level, show)
    if is_enum(kind):
        return f"{kind.__name__}.{value._name_}" if value._name_ else _flags(value, kind)
    if record_of(kind) is not None:
        return _call(kind, _attributes(value, kind), level, show)
    if named_fields(kind) is not None:
        return _call(kind, zip(kind._fields, tuple.__iter__(value), strict=False), level, show)
    return None


def _flags(value: Any, kind: Any) -> str:
    return f"{kind.__name__}({int(value._value_)})"


def _attributes(value: Any, kind: type) -> Iterable[tuple[str, Any]]:
    """The attributes that are declared."""
    record = record_of(kind)
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        held = {}
    for name in record.fields if record is not None else ():
        if name in held:
            yield name, held[name]
        elif record is not None and name in record.slots:
            try:
                yield name, record.slots[name].__get__(value)
            except AttributeError:
                continue


def _call(kind: type, named: Iterable[tuple[str, Any]], level: int, show: Show) -> str:
    some = [f"{name}={show(part, level + 1)}" for name, part in islice(named, _MOST_ITEMS + 1)]
    more = ", …" if len(some) > _MOST_ITEMS else ""
    return f"{kind.__name__}({', '.join(some[:_MOST_ITEMS])}{more})"


def _standard(value: Any) -> str | None:
    """Dates, numbers, paths: their own text is that of the standard library."""
    kind: Any = type(value)
    code = standard.code_of(kind)
    if code is None or not standard.is_standard(value):  # with parts of the user's own
        return None
    if kind.__module__ == "datetime":
        return str(value)
    if code == 6 or code == 7:
        return _number(value, kind)
    if kind.__module__ == "uuid" or code == 9:
        return f"{kind.__name__}({str(value)[:_LONGEST]!r})"
    return repr(value)[: _LONGEST + 1]


def _number(value: Any, kind: Any) -> str:
    if kind.__name__ == "Decimal":
        return f"Decimal({str(value)[:_LONGEST]!r})"
    size = value.numerator.bit_length() + value.denominator.bit_length()
    return f"Fraction({value})" if size < 1000 else f"Fraction of {size} bits"


def _collection(value: Any, level: int, show: Show) -> str | None:
    kind: Any = type(value)
    name = kind.__name__
    if name == "SimpleNamespace":
        return _call(kind, vars(value).items(), level, show)
    if name not in ("OrderedDict", "Counter", "defaultdict", "deque"):
        return None
    inner = list(islice(value, 20)) if name == "deque" else dict(islice(kind.items(value), 20))
    more = f"{len(value)} items: " if len(value) > _MOST_ITEMS else ""
    return f"{more}{name}({show(inner, level).rpartition('items: ')[2]})"


def _torch(value: Any) -> str | None:
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        grad = " requires_grad" if value.requires_grad else ""
        return f"{dtype} {tuple(value.shape)} {value.device}{grad}"
    return None


def _jax(value: Any) -> str | None:
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(value, jax.Array):
        return None
    places = sorted(str(device) for device in value.devices())
    return f"{value.dtype} {value.shape} {', '.join(places)}"


def _sparse(value: Any) -> str | None:
    kind: Any = type(value)
    if not kind.__module__.startswith("scipy.sparse") or not hasattr(kind, "nnz"):
        return None
    return f"{kind.__name__} {value.dtype} {value.shape}, {value.nnz} stored"


def _image(value: Any) -> str | None:
    kind: Any = type(value)
    image = sys.modules.get("PIL.Image")
    if image is None or not isinstance(value, image.Image):
        return None
    width, height = value.size
    return f"{kind.__name__} {value.mode} {width}x{height}"


def _figure(value: Any) -> str | None:
    kind: Any = type(value)
    if kind.__module__ != "matplotlib.figure" or kind.__name__ != "Figure":
        return None
    width, height = (round(float(side)) for side in value.bbox.size)
    return f"Figure {width}x{height}, {len(value.axes)} axes"


_BY_LIBRARY: dict[str, Callable[[Any], str | None]] = {
    "builtins": _standard, "datetime": _standard, "decimal": _standard, "fractions": _standard,
    "pathlib": _standard, "re": _standard, "uuid": _standard, "zoneinfo": _standard,
    "torch": _torch, "jaxlib": _jax, "jax": _jax, "scipy": _sparse, "PIL": _image,
    "matplotlib": _figure,
}  # fmt: skip
