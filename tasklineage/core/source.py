"""The elements of a map: several iterables read side by side, no further ahead than is asked."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any

from tasklineage.errors import LengthMismatch, TooManyItems

_END = object()
_ENDS = repeat(_END)
_is_end = partial(operator.is_, _END)  # `in` would ask the elements whether they are equal
_SIZED = (list, tuple, range, str, bytes, set, frozenset, dict)


class Source:
    """Reads one element of each iterable at a time. One thread at a time may `take`."""

    def __init__(self, iterables: Sequence[Iterable[Any]]) -> None:
        self._iterators: list[Iterator[Any]] = [iter(one) for one in iterables]
        sized = [one for one in iterables if isinstance(one, _SIZED)]
        lengths = {len(one) for one in sized if len(sized) == len(iterables)}
        self.total = lengths.pop() if len(lengths) == 1 else None
        """How many elements there will be, where that is known before."""
        self.is_exhausted = False
        self.error: BaseException | None = None
        """What the iterables ended with, if not well: their own exception, or a LengthMismatch."""

    def take(self, count: int) -> list[tuple[Any, ...]]:
        """Up to `count` further elements, one value per iterable each."""
        return list(self.each(count))

    def each(self, count: int) -> Iterator[tuple[Any, ...]]:
        """The same one by one: the next is read when it is asked for."""
        taken = 0
        while taken < count and not self.is_exhausted:
            try:
                element = tuple(map(next, self._iterators, _ENDS))
            except BaseException as error:
                self.fail(error)
                break
            if not any(map(_is_end, element)):
                taken += 1
                yield element
                continue
            self.is_exhausted = True
            if not all(map(_is_end, element)):
                short = [i for i, value in enumerate(element) if value is _END]
                self.error = LengthMismatch(
                    f"the iterables of a map differ in length: number {short[0] + 1} ended before "
                    "the others. Give all of them the same length, or pass what is the same for "
                    "every element by keyword."
                )

    def fail(self, error: BaseException) -> None:
        """Let the input end with an exception."""
        self.error = error
        self.is_exhausted = True


def limited(iterables: Sequence[Iterable[Any]], max_items: int | None) -> Sequence[Iterable[Any]]:
    """The iterables, those of unknown length read as far as the limit needs it.

    Raises
    ------
    TooManyItems
        One of them has more than `max_items` elements.
    """
    if max_items is None:
        return iterables
    return [_limited(one, max_items) for one in iterables]


def _limited(iterable: Iterable[Any], max_items: int) -> Iterable[Any]:
    iterator = iter(iterable)
    head = [value for value, _ in zip(iterator, range(max_items + 1), strict=False)]
    if len(head) > max_items:
        raise TooManyItems(f"a map of more than max_items={max_items} elements was asked for")
    return head
