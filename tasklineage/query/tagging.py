"""Names that move: `tag`, `untag`, `refs`, `load` and `reflog`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tasklineage import config
from tasklineage.errors import MissingObject, NotFound, RefMoved, UnhashableArgument
from tasklineage.key.digest import Unresolved, digest
from tasklineage.query import find, history
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.ids import DIGEST_TAG
from tasklineage.query.listing import Listing
from tasklineage.query.refs import RefListing, RefVersion, hint, ref_cells, value_of
from tasklineage.query.runs import Run
from tasklineage.storage import ref_names
from tasklineage.storage.records import Ref
from tasklineage.storage.refs import ARTIFACT, CALL, DELETED, RUN, Target, Version
from tasklineage.storage.roots import rooted

if TYPE_CHECKING:
    from tasklineage.storage.store import Store

Item = Run | Call | Artifact
ANYTHING: Any = object()
"""Whatever the ref points to, it is moved."""


def tag(
    x: Any,
    name: str,
    /,
    *,
    message: str = "",
    expected: RefVersion | Item | str | None = ANYTHING,
    store: Any = None,
) -> RefVersion:
    """The new version of the ref `name`, which points to `x` from now on.

    Parameters
    ----------
    x
        A run, call or artifact; an id or digest, or the beginning of one; another ref, so that
        `tl.tag("model/staging", "model/prod")` promotes what it points to; a Future, which stands
        for its result; a path or value that a task made, known by its content.
    name
        Parts divided by `/`: `model/prod`. Small and capital letters differ.
    message
        Why: kept with the version.
    expected
        Move it only from there: the version, run, call or artifact that it is to point to now, or
        an id; None: only if there is no such ref.
    store
        Where the ref is; by default where `x` is.

    Raises
    ------
    RefMoved
        It does not point to what was expected.
    NotFound, AmbiguousId
        There is no `x`, or an id begins several.
    MissingObject
        The value was described when it was passed, and is not stored; or it was collected as
        garbage just now.
    ConfigError
        No ref can have that name.
    StoreError
        The store cannot be written, or cannot tell two writers apart.

    Notes
    -----
    Of any number of writers at once, each gets a version of its own. In Git it is `update-ref`.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def train(rate: float) -> dict[str, float]:
    ...     return {"rate": rate}
    >>> tl.tag(train(0.1), "model/prod", message="first").number
    1
    >>> tl.tag(train(0.2), "model/prod").number
    2
    >>> tl.load("model/prod")
    {'rate': 0.2}
    >>> tl.load("model/prod@1")
    {'rate': 0.1}
    """
    name = ref_names.checked(name)
    item = item_of(x, store)
    opened = item.store
    check = None if expected is ANYTHING else _check(name, expected, opened)
    target = _target(item, x)
    opened.flush()  # what a ref points to is there before the ref
    with rooted(opened, target.kind, target.id, target.value):
        moved = opened.refs.move(name, target, message=message, check=check)
    return RefVersion(opened, moved)


def untag(name: str, /, *, message: str = "", store: Any = None) -> RefVersion:
    """The version that deletes the ref; what it pointed to stays, and so does its reflog.

    Raises
    ------
    NotFound
        There is no such ref.
    StoreError
        The store cannot be written.

    Examples
    --------
    >>> import tasklineage as tl
    >>> with tl.run("nightly") as run:
    ...     pass
    >>> tag(run, "obsolete")
    <Ref obsolete@1 run ...>
    >>> untag("obsolete").previous == run.id
    True
    """
    name = ref_names.checked(name)
    opened = _opened(name, store)

    def check(newest: Version | None) -> None:
        if newest is None or newest.kind == DELETED:
            raise _unknown(opened, name)

    moved = opened.refs.move(name, Target(DELETED), message=message, check=check)
    return RefVersion(opened, moved)


def refs(pattern: str | None = None, *, store: Any = None) -> RefListing:
    """The refs that there are, by name: where each points now. `refs()["model/prod"]` is one.

    Parameters
    ----------
    pattern
        Only those whose names fit: `model/*`.

    Raises
    ------
    StoreNotFound
        There is no store where `store=` says.

    Examples
    --------
    >>> import tasklineage as tl
    >>> with tl.run("nightly") as run:
    ...     pass
    >>> tag(run, "nightly/last"), tag(run, "nightly/best")
    (<Ref nightly/last@1 run ...>, <Ref nightly/best@1 run ...>)
    >>> [ref.name for ref in refs("nightly/*")]
    ['nightly/best', 'nightly/last']
    """
    opened = find.existing(store)
    newest = iter(()) if opened is None else opened.refs.all()
    found = (
        RefVersion(opened, version)
        for version in newest
        if opened is not None
        and version.kind != DELETED
        and (pattern is None or fnmatchcase(version.name, pattern))
    )
    return RefListing(found, "ref", ref_cells)


def reflog(name: str, /, *, store: Any = None) -> Sequence[RefVersion]:
    """All versions of the ref, newest first; its deletions too.

    Raises
    ------
    NotFound
        There never was such a ref.

    Examples
    --------
    >>> import tasklineage as tl
    >>> with tl.run("nightly") as run:
    ...     pass
    >>> tag(run, "week/last", message="it works").user == run.user
    True
    >>> [version.message for version in reflog("week/last")]
    ['it works']
    """
    name = ref_names.checked(name)
    opened = _opened(name, store)
    found = [RefVersion(opened, version) for version in opened.refs.history(name)]
    if not found:
        raise _unknown(opened, name)
    return Listing(found, "version", ref_cells)


def load(x: Any, /, *, store: Any = None, device: Any = None) -> Any:
    """The value of a ref, artifact, call or run, of its name or id; decoded anew each time.

    That of a call is its result, that of a run the result of its last root call that succeeded.
    Tensors and device arrays come back on the CPU, or on `device`: `"cuda:1"`, or one of torch or
    jax.

    Raises
    ------
    NotFound, AmbiguousId
        A name or id means nothing, or several things; or a run or call has no result.
    CorruptObject
        The ref, or the value, is damaged.
    MissingObject, UnsafeFormat
        As `artifact.value`.
    ConfigError
        There is no such device here.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> tag(double.calls(where={"x": double(4) // 2})[0], "eight")
    <Ref eight@1 call ...>
    >>> load("eight")
    8
    """
    item = item_of(x, store)
    if device is None:
        return value_of(item)
    from tasklineage.storage.codecs.placing import placed_on  # for those who ask

    with placed_on(device):
        return value_of(item)


def item_of(x: Any, store: Any) -> Item:
    """The run, call or artifact that `x` stands for, of the store that is meant."""
    if isinstance(x, RefVersion):
        x = x.target
    if isinstance(x, str):
        return _of_text(x, store)
    item = history.subject_of(x, store)
    if isinstance(item, Call) and item is not x:  # a Future, which stands for its result
        item = _result(item)
    if store is None or find.existing(store) is item.store:
        return item
    return find.get(item.digest if isinstance(item, Artifact) else item.id, store=store)


def _of_text(text: str, store: Any) -> Item:
    """What has that name or id; else what is known of such a file or text."""
    try:
        return find.get(text, store=store)
    except NotFound as error:
        try:
            return history.subject_of(text, store)
        except NotFound:
            raise error from None


def _result(call: Call) -> Artifact:
    output = call.output
    if output is None:
        raise NotFound(f"call {call.id} of {call.task} is {call.status}: it has no result")
    return output


def _target(item: Item, x: Any) -> Target:
    """What a ref to the item says; the value of an artifact is stored then."""
    kind, id = _identity(item)
    return Target(kind, id, _stored(item, id, x) if isinstance(item, Artifact) else None)


def _identity(item: Item) -> tuple[str, bytes]:
    """Its kind, and its id or Digest."""
    if isinstance(item, Artifact):
        return ARTIFACT, bytes.fromhex(item.digest.removeprefix(DIGEST_TAG))
    return RUN if isinstance(item, Run) else CALL, bytes.fromhex(item.id)


def _stored(artifact: Artifact, wanted: bytes, x: Any) -> Ref:
    """Where the value is stored: now, if it was only described, or is gone."""
    store = artifact.store
    try:
        ref = artifact.stored_ref()
        if store.has(ref):
            return ref
    except MissingObject:
        pass
    return store.put(x if _is_value(x, wanted) else artifact.value, wanted)


def _is_value(x: Any, wanted: bytes) -> bool:
    """Whether `x` is the value in hand, and does not only stand for it."""
    try:
        return not isinstance(x, Artifact | RefVersion) and digest(x) == wanted
    except (Unresolved, UnhashableArgument):
        return False


def _check(name: str, expected: Any, store: Store) -> Callable[[Version | None], None]:
    """What raises `RefMoved` where the newest version of the ref is not what was expected."""
    wanted = _expected(expected, store)

    def check(newest: Version | None) -> None:
        found = _state(newest)
        if wanted not in (found[:1], found[1:]):
            now = "is not there" if newest is None else f"is {RefVersion(store, newest)!r}"
            raise RefMoved(
                f"the ref {name!r} is not moved: it {now}, and not what was expected. Look at it "
                "again, and decide again",
                name=name,
                number=found[0],
            )

    return check


def _expected(expected: Any, store: Store) -> tuple[Any, ...]:
    """The number of a version, or kind and target of what the ref is to point to."""
    if expected is None:
        return _state(None)[1:]
    if isinstance(expected, RefVersion):
        return (expected.number,)
    return _identity(item_of(expected, store))


def _state(newest: Version | None) -> tuple[int, str, bytes]:
    """Number, kind and target of the newest version; a ref that is not there is deleted."""
    return (0, DELETED, b"") if newest is None else (newest.number, newest.kind, newest.target)


def _opened(name: str, store: Any) -> Store:
    opened = find.existing(store)
    if opened is None:
        raise NotFound(f"no store at {config.default_store()}, so there is no ref {name!r}")
    return opened


def _unknown(store: Store, name: str) -> NotFound:
    return NotFound(f"{store.url} has no ref {name!r}{hint(store, name)}")
