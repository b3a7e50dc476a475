"""Stored values: what is known of them, and what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasklineage.errors import MissingObject, TasklineageError
from tasklineage.query.cards import artifact_card
from tasklineage.query.ids import digest_text
from tasklineage.query.render import html_picture, one_line
from tasklineage.storage.codecs.base import PICKLED_BY
from tasklineage.storage.records import Ref

if TYPE_CHECKING:
    from tasklineage.query.calls import Call
    from tasklineage.storage.store import Store


class Artifact:
    """A value with its history. Equal by digest; nothing is decoded until `.value` is asked for."""

    __slots__ = ("_outline", "_ref", "_store")

    def __init__(self, store: Store, ref: Ref, outline: Mapping[str, Any] | None = None) -> None:
        self._store = store
        self._ref = ref
        self._outline = outline

    @property
    def store(self) -> Store:
        """Where it is recorded."""
        return self._store

    @property
    def ref(self) -> Ref:
        """What the record says of it: where it is stored, if it is."""
        return self._ref

    @property
    def digest(self) -> str:
        """The identity of the value: `xxh3:…`."""
        return digest_text(self._ref.digest)

    @property
    def type(self) -> str:
        """Its type: `int`, `numpy.ndarray`, `myproject.Model`.

        Where it was pickled, that is said: `myproject.Model (pickle)`.
        """
        pickler = PICKLED_BY.get(self._ref.codec)
        return self._ref.type if pickler is None else f"{self._ref.type} ({pickler})"

    @property
    def nbytes(self) -> int:
        """Bytes of the encoded value, parts included; 0 where it was only described."""
        return self._ref.nbytes

    @property
    def preview(self) -> str:
        """A short text for people."""
        return self._ref.preview

    @property
    def is_stored(self) -> bool:
        """Whether the value itself was stored, and not only a description of it."""
        return self._ref.is_stored

    @property
    def is_inline(self) -> bool:
        """Whether it is so small that it stands in the record itself."""
        return self._ref.data is not None

    @property
    def outline(self) -> dict[str, Any]:
        """What was recorded of a large argument that is not stored; empty for all others.

        By name, as far as they apply: `length`, `shape`, `dtype`, `columns` (name, dtype and digest
        each), `blocks` (a digest for each `block` bytes) and `head`, a text.
        """
        found = self._outline
        if found is None and not self._ref.is_stored:
            found = self._store.catalog.outline(self._ref.digest)
        return dict(found or ())

    @property
    def value(self) -> Any:
        """The value, decoded anew each time.

        Raises
        ------
        MissingObject
            It was described and not stored, or its object is gone.
        CorruptObject
            The stored bytes are not what was written.
        UnsafeFormat
            Decoding would need pickle, which the store was opened to forbid.
        """
        if self._ref.is_stored:
            return self._store.get(self._ref)
        from tasklineage.query import unpacking

        try:
            ref = self._stored_ref()
        except MissingObject:
            found = unpacking.part(self._store, self._ref.digest)
            if found is None:
                raise
            return found.value
        return self._store.get(ref)

    def load(self, *, device: Any = None) -> Any:
        """The value, as `value` is; tensors and device arrays on `device`, else on the CPU.

        Raises
        ------
        ConfigError
            There is no such device here. Else as `value`.
        """
        from tasklineage.storage.codecs.placing import placed_on  # for those who ask

        with placed_on(device):
            return self.value

    def picture(self, form: str = "png") -> bytes | None:
        """A picture of the value, `png` or `svg`, if one is stored with it; nothing is unpickled.

        Figures of matplotlib have both, images of PIL a PNG if that says them exactly.

        Raises
        ------
        MissingObject, CorruptObject
            Its object is gone, or is not what was written.
        """
        kind = "image/svg+xml" if form == "svg" else f"image/{form}"
        return self._store.pictures(self._ref).get(kind)

    def __getitem__(self, key: Any) -> Any:
        """What `.value[key]` is, decoded by itself where that can be done.

        Of a table these are columns, by name or as a list of names; of a list, tuple or dict, the
        item. The object is verified as a whole, but no more of it is decoded.

        Raises
        ------
        KeyError, IndexError, TypeError
            As the value would.
        MissingObject, CorruptObject, UnsafeFormat
            As `value`.
        """
        try:
            ref = self.stored_ref()
        except MissingObject:
            return self.value[key]  # it may be a part of another value
        return self._store.get_item(ref, key)

    __iter__ = None
    """Not by `[0]`, `[1]` …: an artifact is no sequence."""

    @property
    def columns(self) -> list[Any] | None:
        """The names of the columns of a table; None of other values. No column is decoded.

        Raises
        ------
        MissingObject, CorruptObject
            As `value`.
        """
        return self._store.columns(self.stored_ref())

    @property
    def parts(self) -> dict[str, Artifact]:
        """The large parts of a container, which are stored by themselves, by their paths in it.

        `{"['X']": <Artifact …>, "['model'].weights": <Artifact …>}`; each has a digest, producers
        and a value of its own. Empty for what is stored as one.

        Raises
        ------
        MissingObject, CorruptObject
            As `value`.
        """
        found = self._store.parts(self.stored_ref())
        return {path: Artifact(self._store, ref) for path, ref in found.items()}

    @property
    def producers(self) -> Sequence[Call]:
        """The calls that computed it, newest first."""
        from tasklineage.query.calls import calls_of_rows  # a value has calls, a call has values

        return calls_of_rows(self._store, self._store.catalog.producers(self._ref.digest))

    @property
    def consumers(self) -> Sequence[Call]:
        """The calls that took it as an argument, newest first."""
        from tasklineage.query.calls import calls_of_rows  # as above

        return calls_of_rows(self._store, self._store.catalog.consumers(self._ref.digest))

    def stored_ref(self) -> Ref:
        """Where the value is stored, as records say it.

        Raises
        ------
        MissingObject
            It was only described.
        """
        return self._ref if self._ref.is_stored else self._stored_ref()

    def _stored_ref(self) -> Ref:
        """Where the same content is stored as another value's artifact."""
        if not self._ref.digest:
            raise MissingObject(f"a {self.type} has no digest, so it could not be stored")
        for row in self._store.catalog.find_artifacts(digest=self._ref.digest):
            if row.ref.is_stored:
                return row.ref
        raise MissingObject(
            f"the value {self.digest} ({self.type}: {self.preview}) was described when it was "
            "passed, not stored: store_args=True of tl.run or @task stores such arguments"
        )

    def __eq__(self, other: object) -> bool:
        return (
            other._ref.digest == self._ref.digest if isinstance(other, Artifact) else NotImplemented
        )

    def __hash__(self) -> int:
        return hash(self._ref.digest)

    def __repr__(self) -> str:
        return f"<Artifact {self.digest} {self.type} {one_line(self.preview)}>"

    def _repr_html_(self) -> str:
        return artifact_card(self) + self._shown()

    def _shown(self) -> str:
        """Its picture, or nothing where that cannot be read."""
        try:
            picture = self.picture()
        except TasklineageError:
            return ""
        return "" if picture is None else html_picture(picture)


class Values(Mapping[str, Any]):
    """Names and values of arguments or parameters; each value is decoded when it is asked for.

    It compares equal to a dict of the same names and values.
    """

    __slots__ = ("_artifacts", "_owner")

    def __init__(self, artifacts: Mapping[str, Artifact], owner: str) -> None:
        self._artifacts = artifacts
        self._owner = owner

    @property
    def artifacts(self) -> Mapping[str, Artifact]:
        """The same names with what is known of the values: nothing is decoded."""
        return self._artifacts

    def __getitem__(self, name: str) -> Any:
        artifact = self._artifacts[name]
        try:
            return artifact.value
        except MissingObject as error:
            raise MissingObject(f"{name!r} of {self._owner}: {error.message}", name=name) from error

    def __contains__(self, name: object) -> bool:
        return name in self._artifacts

    def get(self, name: str, default: Any = None) -> Any:
        """The value of that name; `default` if there is no such name.

        Raises
        ------
        MissingObject
            There is, but its value was not stored.
        """
        if name not in self:
            return default
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._artifacts)

    def __len__(self) -> int:
        return len(self._artifacts)

    def __repr__(self) -> str:
        shown = (f"{name!r}: {one_line(a.preview)}" for name, a in self._artifacts.items())
        return f"{{{', '.join(shown)}}}"
