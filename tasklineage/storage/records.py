"""The records of the journal: what happened, as immutable tuples.

Every record is a msgpack array whose positions are the fields below, in this order. A reader
ignores positions that it does not know and takes the default for those that are missing, so that
fields may be added at the end. Ids are 16 raw bytes that sort by time (see `new_id`); digests and
object ids are 16 raw bytes of xxh3-128; times are seconds since the epoch in UTC.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NewType, TypeVar

import msgpack

from tasklineage.errors import TasklineageError
from tasklineage.storage.object_layout import check_lengths

Digest = NewType("Digest", bytes)
ObjectId = NewType("ObjectId", bytes)
Id = NewType("Id", bytes)

new: Callable[..., Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
"""`new(Record, fields)` with all fields takes a third of the time of `Record(*fields)`. Its type is
not known to pyright while unapplied."""

RUNNING, DONE, FAILED, CAUGHT, CANCELLED, SKIPPED, TIMEOUT, LOST = (
    "running", "done", "failed", "caught", "cancelled", "skipped", "timeout", "lost",
)  # fmt: skip


class Swept(TasklineageError):
    """A record that was just appended names objects that a sweep has deleted meanwhile.

    Whoever has the values writes them, and the record, again. It never reaches a user.
    """


class Ref(NamedTuple):
    """Where a value is: its Digest, and its bytes inline or the object that holds them."""

    digest: bytes
    type: str = ""
    """The value's type as users know it: `int`, `numpy.ndarray`, `myproject.Model`."""
    codec: str = ""
    nbytes: int = 0
    """Bytes of the encoded value, parts included."""
    data: bytes | None = None
    """The encoded value itself, if it is small."""
    oid: bytes | None = None
    """The object that holds it, if it is not."""
    preview: str = ""
    """A short text for people; for a described argument also what is known of its shape."""

    @property
    def is_stored(self) -> bool:
        """Whether the value can be read back; a described argument cannot."""
        return self.data is not None or self.oid is not None


class Edge(NamedTuple):
    """One known origin of an input: the call that made it."""

    path: str
    """Where in the arguments: `df`, `inputs[0]`, `cfg['x']`."""
    producer: bytes
    via: str
    """`future`, `identity`, `content` or `changed in place`."""
    digest: bytes = b""


class Argument(NamedTuple):
    """One bound argument of an executed call."""

    name: str
    ref: tuple[Any, ...]
    """The fields of a `Ref`."""
    counts: bool = True
    """False for a parameter named in `ignore`."""
    outline: dict[str, Any] | None = None
    """Of one that is only described: what is known of the value (see `codecs.outline`)."""


class Condition(NamedTuple):
    """Something beside code and arguments that a memo depends on."""

    kind: str
    """`env`, `dist`, `code`, `value`, `file`, `dir`, `read` or `module`."""
    name: str
    """Of a file or folder: its path; of one that a body opened by it, as the body named it."""
    digest: bytes
    data: bytes = b""
    """Of a file or folder: a packed array of hash, mode, size and the id of the object with its
    content, so that it can be put back; empty if its content was not stored."""


class Miss(NamedTuple):
    """Why a memo of its key did not answer a call that then executed.

    In a `CallEnd` it is one text: these fields, divided by tabs.
    """

    kind: str
    """`expired`, `refreshed`, `version` (a task below it has other code now, or is gone),
    `missing`, `corrupt`, `undecodable`, or the kind of a `Condition` that did not hold."""
    name: str = ""
    """Of a task, or of the condition."""
    detail: str = ""
    """What it had been: a digest, a time, or what could not be read."""
    memo: bytes = b""
    """The call whose record is that memo."""


class Error(NamedTuple):
    """An exception as text: nothing is unpickled to read it."""

    type: str
    message: str
    traceback: str


class Attempt(NamedTuple):
    """One execution of a call's function."""

    number: int
    """0 for the first."""
    status: str
    started: float
    ended: float
    error: tuple[str, str, str] | None = None
    stdout: tuple[Any, ...] | None = None
    """The fields of a `Ref` to the text, or None where nothing was printed."""
    stderr: tuple[Any, ...] | None = None


class RunBegin(NamedTuple):
    """A run has begun. Its writer is the one whose segment holds this record."""

    id: bytes
    name: str
    parent: bytes | None
    namespace: str
    user: str
    host: str
    pid: int
    argv: tuple[str, ...]
    params: tuple[tuple[str, tuple[Any, ...]], ...]
    """Names and the fields of a `Ref` each."""
    tags: tuple[str, ...]
    started: float
    executor: str = ""
    python: str = ""
    platform: str = ""
    commit: str = ""
    dirty: bool = False
    ambient: bool = False
    cwd: str = ""


class RunEnd(NamedTuple):
    """A run is over."""

    id: bytes
    status: str
    ended: float
    error: tuple[str, str, str] | None = None


class RunTags(NamedTuple):
    """Tags of a run were added or removed after its beginning."""

    id: bytes
    added: tuple[str, ...]
    removed: tuple[str, ...]
    at: float


class RunEnvironment(NamedTuple):
    """What a run executes in. It is found and recorded a moment after the run has begun."""

    run: bytes
    environment: tuple[Any, ...]
    """The fields of a `Ref` to a JSON text: interpreter, machine, distributions. Always an object,
    so that equal ones are stored once."""
    commit: str = ""
    changed: tuple[str, ...] = ()
    diff: tuple[Any, ...] | None = None
    """The fields of a `Ref` to an object: the text of the differences from the commit."""
    untracked: tuple[str, ...] = ()
    note: str = ""
    """What could not be read, or was cut off."""


class CallBegin(NamedTuple):
    """A call is about to execute. Without a `CallEnd`, and its writer gone, it reads `lost`."""

    id: bytes
    run: bytes
    parent: bytes | None
    task: str
    code: bytes
    key: bytes
    started: float
    position: tuple[int, int | None] | None = None


class CallEnd(NamedTuple):
    """A call is over. Where `memo` is true, this record is the memo of its key."""

    id: bytes
    run: bytes
    parent: bytes | None
    task: str
    code: bytes
    """Digest of the code version; its `Code` record stands earlier in some segment."""
    key: bytes
    started: float
    position: tuple[int, int | None] | None
    status: str
    ended: float
    memo: bool
    output: tuple[Any, ...] | None = None
    """The fields of a `Ref`."""
    arguments: tuple[tuple[Any, ...], ...] = ()
    """The fields of an `Argument` each."""
    edges: tuple[tuple[Any, ...], ...] = ()
    """The fields of an `Edge` each."""
    error: tuple[str, str, str] | None = None
    attempts: tuple[tuple[Any, ...], ...] = ()
    """The fields of an `Attempt` each; empty where the only attempt says what the call says."""
    stdout: tuple[Any, ...] | None = None
    stderr: tuple[Any, ...] | None = None
    expires: float | None = None
    """When the earliest memo below this call ends; its own `ttl` is compared at look-up."""
    conditions: tuple[tuple[Any, ...], ...] = ()
    """The fields of a `Condition` each: its own and those of its whole subtree."""
    versions: bytes | None = None
    """Digest of the `Versions` record: every task that took part below this call."""
    volatile: str = ""
    """Why this can never be a memo: the name of the child, and what it was. Empty: it is not."""
    mutated: tuple[str, ...] = ()
    """Parameters and globals that the call changed in place."""
    tags: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    worker: str = ""
    """`host:pid:thread` where it ran, if not in the thread of its caller."""
    salt: tuple[tuple[str, bytes], ...] = ()
    """The tracked extras that entered the key: name and digest."""
    parts: tuple[tuple[str, bytes, str], ...] = ()
    """What of the result may be unpacked and passed on: path inside it, Digest and type of each."""
    miss: str = ""
    """Why the newest memo of the key did not answer: see `Miss`. Empty where there was none."""
    cpu: float | None = None
    """CPU seconds of its body, all attempts together; None: not measured."""
    memory: int | None = None
    """Bytes of its process that were resident at once while its body ran, at most."""
    gpu: int | None = None
    """Bytes of its GPUs that were allocated at once, at most."""


class Hit(NamedTuple):
    """A call was answered by a memo."""

    id: bytes
    run: bytes
    parent: bytes | None
    task: str
    key: bytes
    producer: bytes
    """The call that computed it."""
    at: float
    position: tuple[int, int | None] | None = None
    tags: tuple[str, ...] = ()


class Code(NamedTuple):
    """A code version: the closure of a function, for `why` and `diff`."""

    digest: bytes
    task: str
    parts: tuple[tuple[str, str, bytes, str], ...]
    """(kind, qualified name, digest, text) each; the text is source, or a preview of a value."""
    modular: bytes = b""
    """Digests one after the other: of the graph with the tasks that it calls cut off; of the task
    as a value; of the code version of each of those tasks, zeros for the task itself."""
    portable: bytes = b""
    """The digest of the closure in terms of syntax, then two bytes: the version of Python."""


class Versions(NamedTuple):
    """An interned set: the (task, code version) pairs that took part in a subtree."""

    digest: bytes
    members: tuple[tuple[str, bytes], ...]


class Forget(NamedTuple):
    """Memos of this key that ended before this moment no longer answer."""

    key: bytes
    at: float


class Accept(NamedTuple):
    """Memos of other code versions answer for calls of this one, or no longer do."""

    task: str
    code: bytes
    """The code version that was in force."""
    accepted: tuple[bytes, ...]
    at: float
    user: str = ""
    revoked: bool = False
    """True: from this moment on they do not."""


class Verified(NamedTuple):
    """A hit was executed again, and the result compared with what the memo had answered."""

    id: bytes
    run: bytes
    call: bytes
    """The hit."""
    producer: bytes
    """The call that had computed it."""
    key: bytes
    task: str
    at: float
    status: str
    """`same`, `differs`, `failed` (it raised) or `skipped` (it could not be executed again)."""
    expected: bytes
    """Digest of what the memo answered."""
    found: bytes = b""
    """Digest of the new result; empty where there is none."""
    cause: str = ""
    """The likely one: `randomness`, `time`, `hash order`, `environment`, ..."""
    text: str = ""
    """How the results differ, and what speaks for that cause; or why it was skipped."""
    error: tuple[str, str, str] | None = None


class Removed(NamedTuple):
    """A run was taken out: it is listed no more, and keeps nothing. Its memos answer while their
    values are there.
    """

    id: bytes
    at: float
    user: str = ""
    reason: str = ""
    """`rm`, or `gc` and by which rules."""


class LeftOut(NamedTuple):
    """A call that others name as the one that made them, and that did not come here with them."""

    id: bytes


class Purged(NamedTuple):
    """Values were erased: what was recorded of them before this moment is stored no more."""

    digests: tuple[bytes, ...]
    at: float
    user: str = ""
    reason: str = ""


Record = (
    RunBegin | RunEnd | RunTags | CallBegin | CallEnd | Hit | Code | Versions | Forget
    | RunEnvironment | Accept | Verified | Removed | Purged | LeftOut
)  # fmt: skip
R = TypeVar("R")

KINDS: dict[int, type[Any]] = {
    1: RunBegin, 2: RunEnd, 3: RunTags, 4: CallBegin, 5: CallEnd, 6: Hit, 7: Code, 8: Versions,
    9: Forget, 10: RunEnvironment, 11: Accept, 12: Verified, 13: Removed, 14: Purged,
    16: LeftOut,
}  # fmt: skip
KIND_OF: dict[type[Any], int] = {record: kind for kind, record in KINDS.items()}

CHECKED_FROM = 16 * 1024
"""Bytes from which on a payload is looked through before it is unpacked: see `check_lengths`."""
_REF_FIELDS = len(Ref._fields)
_LONG_ARRAY = b"\xdc"
"""The first byte of a packed array of more than 15 fields; its length follows in two."""
_ID, _ID_LENGTH = b"\xc4\x10", 16
"""What a packed id begins with: bytes, 16 of them."""
# A lone surrogate, as in an undecodable file name, must not keep a call from being recorded.
_pack = msgpack.Packer(autoreset=True, unicode_errors="surrogatepass").pack
_unpack = msgpack.unpackb


def encode(record: Record) -> bytes:
    """The msgpack array of a record."""
    packed: bytes = _pack(record)
    return packed


def encode_miss(miss: Miss) -> str:
    """The text of a `Miss`, as a `CallEnd` has it."""
    texts = (miss.kind, miss.name, miss.detail)
    return "\t".join((*(text.replace("\t", " ") for text in texts), miss.memo.hex()))


def decode_miss(text: str) -> Miss | None:
    """The `Miss` that a text stands for; None for one that says nothing, or is none."""
    fields = text.split("\t")
    if len(fields) != len(Miss._fields):
        return None
    try:
        return Miss(fields[0], fields[1], fields[2], bytes.fromhex(fields[3]))
    except ValueError:
        return None


def as_ref(fields: Sequence[Any]) -> Ref:
    """The `Ref` that stands in a record as its fields."""
    ref: Ref = new(Ref, fields) if len(fields) == _REF_FIELDS else Ref(*fields[:_REF_FIELDS])
    return ref


def decode(kind: int, payload: bytes | memoryview) -> Any:
    """The record whose msgpack array `payload` is.

    Raises
    ------
    ValueError
        It is not a msgpack array, or has too few fields, or the kind is unknown.
    """
    record = KINDS.get(kind)
    if record is None:
        raise ValueError(f"unknown kind of record: {kind}")
    if len(payload) > CHECKED_FROM:
        check_lengths(memoryview(payload))
    fields = _unpack(payload, use_list=False, strict_map_key=False, unicode_errors="surrogatepass")
    if type(fields) is not tuple:
        raise ValueError(f"a {record.__name__} record is not an array")
    count = len(record._fields)
    try:
        return new(record, fields) if len(fields) == count else record(*fields[:count])
    except TypeError as error:
        raise ValueError(f"a {record.__name__} record lacks fields") from error


def subject(payload: bytes) -> bytes:
    """What a record is about: the id or digest that is its first field; empty if that is none."""
    start = 3 if payload[:1] == _LONG_ARRAY else 1
    is_id = payload[start : start + 2] == _ID
    return payload[start + 2 : start + 2 + _ID_LENGTH] if is_id else b""


class _Ids:
    """Where the ids of this process come from."""

    last = 0
    counter = itertools.count()


def _seed_ids() -> None:
    _Ids.counter = itertools.count(int.from_bytes(os.urandom(9), "big") >> 1)


_seed_ids()
os.register_at_fork(after_in_child=_seed_ids)


def new_id() -> Id:
    """A new id: 56 bits of microseconds, then 72 bits that start at random and count upward.

    Ids of one process sort in the order of their making, also within a microsecond and when the
    clock steps back; those of different processes sort by time. The first 14 of the 32 hexadecimal
    digits usually name one thing.
    """
    now = time.time_ns() // 1_000
    if now > _Ids.last:
        _Ids.last = now
    return Id(((_Ids.last << 72) | next(_Ids.counter)).to_bytes(16, "big"))
