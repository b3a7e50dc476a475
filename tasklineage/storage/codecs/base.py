"""What a codec is: the way between a value and the header and buffers of an object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasklineage.errors import TasklineageError
from tasklineage.storage.object_layout import Buffer

PICKLED_BY = {"pickle": "pickle", "cloudpickle": "cloudpickle", "figure": "pickle"}
"""The codecs whose values are pickles, and by what."""


class Undecodable(TasklineageError):
    """The bytes are intact, and yet no value comes of them here.

    Its class cannot be imported or has changed, its codec is not installed, or its own code
    raised. For a memo that is a miss. Attributes: `codec`, `type`. The cause is the exception met.
    """

    codec: str
    type: str


class Encoded(NamedTuple):
    """A value as the parts of an object."""

    meta: Any
    """Anything that msgpack can hold, small."""
    buffers: Sequence[Buffer]
    children: tuple[bytes, ...] = ()
    """Ids of other objects that the value needs. Without buffers there is one at most: the
    content, which the `Ref` names then."""
    below: int = 0
    """Bytes of the encoded parts that are objects of their own."""


class Codec(ABC):
    """One way to store the values of some types.

    Others are found under the entry point group `tasklineage.codecs`; an entry point names an
    instance or a class without parameters. A codec is shared by all threads.
    """

    name: str
    """Stands in every record and object made by it: it must not change its meaning."""
    is_leaf: bool = True
    """Whether its values share no mutable object with a neighbour in the same container.

    Only those may become parts of a tree; what holds any other is pickled as a whole, so that two
    references to one object stay two references to one object.
    """
    is_safe: bool = False
    """Whether decoding hostile bytes runs no code of theirs."""

    @abstractmethod
    def handles(self, value: Any) -> bool:
        """Whether `value` comes back equal in type and content."""

    @abstractmethod
    def encode(self, value: Any) -> Encoded:
        """The parts of an object that stand for `value`."""

    def pictures(self, meta: Any, buffers: list[memoryview]) -> Mapping[str, bytes]:
        """Pictures of the value that are stored with it, by media type. Decodes nothing."""
        return {}

    @abstractmethod
    def decode(self, meta: Any, buffers: list[memoryview]) -> Any:
        """A new value. The buffers are writable and may be kept.

        Raises
        ------
        ValueError, TypeError, LookupError, OverflowError
            They are not what `encode` made: the object is corrupt.
        """

    def decode_for(self, meta: Any, buffers: list[memoryview], key: Any) -> Any:
        """A new value of which `[key]` is what it is of the whole one.

        A codec that can read a part without the rest makes less than the whole.
        """
        return self.decode(meta, buffers)

    def columns(self, meta: Any, buffers: list[memoryview]) -> list[Any] | None:
        """The names of the columns; None for what has none."""
        return None
