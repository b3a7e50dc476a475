"""What a joining task receives: the values of its branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from tasklineage.key.digest import register_stand_in


class Inputs(Sequence[Any]):
    """The values of the branches of a `join`, in order; by name too, where they are named.

    `inputs[0]`, `inputs["knn"]` and `inputs.knn` give a value, iteration gives all. To the key an
    `Inputs` is an ordered mapping of its names, or a list where there are none.
    """

    __slots__ = ("_names", "_values")
    __module__ = "tasklineage"

    def __init__(self, values: Iterable[Any], names: Sequence[str] = ()) -> None:
        self._values = list(values)
        self._names = tuple(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the branches; empty where they have none."""
        return self._names

    @overload
    def __getitem__(self, which: int | str) -> Any: ...
    @overload
    def __getitem__(self, which: slice) -> list[Any]: ...
    def __getitem__(self, which: int | str | slice) -> Any:
        if isinstance(which, str):
            try:
                return self._values[self._names.index(which)]
            except ValueError:
                raise KeyError(f"no branch is named {which!r}; {self._known()}") from None
        return self._values[which]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._names:
            raise AttributeError(f"no branch is named {name!r}; {self._known()}")
        return self[name]

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Inputs):
            return NotImplemented
        return self._names == other._names and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # mutable values, as in a list

    def __repr__(self) -> str:
        if not self._names:
            return f"Inputs({self._values!r})"
        pairs = ", ".join(f"{n}={v!r}" for n, v in zip(self._names, self._values, strict=True))
        return f"Inputs({pairs})"

    def __reduce__(self) -> Any:
        return Inputs, (self._values, self._names)

    def to_plain(self) -> Any:
        """A dict of the named values, or a list of the unnamed ones."""
        if self._names:
            return dict(zip(self._names, self._values, strict=True))
        return self._values

    def items(self) -> list[tuple[str, Any]]:
        """Names and values, where there are names."""
        return list(zip(self._names, self._values, strict=False))

    def _known(self) -> str:
        return f"there are: {', '.join(self._names)}" if self._names else "they have no names"


register_stand_in(Inputs, Inputs.to_plain)
