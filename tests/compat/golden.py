"""What is in the golden store of format version 1, and how it was made.

`make` gives the same bytes each time and everywhere; `tests/compat/store-1` holds what it gave when
the format was new. Those bytes are never made anew: a store of that time must stay readable.
What the format gains later goes into a further store, beside this one.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import fractions
import functools
import pathlib
import uuid
from pathlib import Path
from typing import Any

import msgpack
import xxhash

from tasklineage.key.digest import digest
from tasklineage.key.files import Dir, File, restored
from tasklineage.key.folders import FILE, Entry, hash_of
from tasklineage.storage import format as layout
from tasklineage.storage import frames, ref_names, refs
from tasklineage.storage.codecs import encode
from tasklineage.storage.codecs.files import FILE_CONTENT, FOLDER_CONTENT, pack_entries
from tasklineage.storage.object_layout import Header
from tasklineage.storage.objects import Objects
from tasklineage.storage.records import (
    KIND_OF,
    Accept,
    Argument,
    Attempt,
    CallBegin,
    CallEnd,
    Code,
    Condition,
    Edge,
    Error,
    Forget,
    Hit,
    Ref,
    Removed,
    RunBegin,
    RunEnd,
    RunEnvironment,
    RunTags,
    Verified,
    Versions,
)
from tasklineage.storage.records import encode as encode_record
from tasklineage.storage.segment import FORMAT, Head

STORE = Path(__file__).with_name("store-1")
WRITER = "0123456789abcdef"
EPOCH = 1_750_000_000.0


@dataclasses.dataclass
class Point:
    """A class of the project."""

    x: int
    tags: list[str]


def values() -> dict[str, Any]:
    """What is stored, by the name of its call: one of every form that needs no other package."""
    shared = ["shared", 1]
    return {
        "integer": 7,
        "large integer": -(1 << 80),
        "number": -0.0,
        "nothing": None,
        "truth": True,
        "short text": "Grüße, 世界",
        "short bytes": b"\0\xff",
        "complex number": 1 - 2j,
        "containers": [(1, "two"), {"three": {3.0}}, frozenset({4}), [], {}],
        "tuple": (1, (2, 3)),
        "standard library": [
            datetime.datetime(2025, 6, 15, 12, 30, tzinfo=datetime.UTC),
            datetime.date(2025, 6, 15),
            datetime.timedelta(days=1, microseconds=5),
            decimal.Decimal("1.50"),
            fractions.Fraction(1, 3),
            uuid.UUID(int=5),
            pathlib.PurePosixPath("a/b"),
        ],
        "long text": "text and ünïcode " * 1_500,
        "long bytes": bytes(range(256)) * 80,
        "bytearray": bytearray(range(256)) * 80,
        "long list": list(range(10_000)),
        "tree": {"one": "x" * 20_000, "two": "y" * 20_000, "n": 5},
        "shared": [shared, shared, {"again": shared}],
        "instance": Point(3, ["a", "b"]),
        "large instance": Point(4, ["c" * 20_000]),
        "exception": ValueError("what was wrong", 3),
        "pickle": functools.partial(int, base=2),
    }


def make(root: Path) -> None:
    """Make the store in an empty folder."""
    (root / layout.FILE).write_bytes(layout.content())
    _Maker(root).make()


class _Maker:
    """Writes objects as they come, and all records into one segment at the end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects = Objects(root)
        self._records: list[Any] = []
        self._count = 0

    def make(self) -> None:
        run, code = self.id(), _digest("code")
        grid = self.put("grid", {"lr": 0.1})
        self.add(
            RunBegin(
                run, "golden", None, "user:ada", "ada", "host", 1, ("script.py", "--x"),
                (("grid", tuple(grid)),), ("first",), self.now(), "threads", "3.11.0", "linux",
                "c0ffee", True, False, "/work",
            ),
            self.environment(run),
            RunTags(run, ("second",), ("first",), self.now()),
            Code(code, "pkg.task", (("function", "pkg.task", _digest("f"), "def task(): ..."),)),
        )  # fmt: skip
        ends = [self.call(run, code, name, value) for name, value in values().items()]
        self.files(run, code)
        versions = Versions(_interned(("pkg.task", code)), (("pkg.task", code),))
        self.add(versions, self.whole(run, code, versions.digest, ends[0]))
        failed = self.begin(run, code, "failed")
        error = Error("ValueError", "no", "Traceback (most recent call last): ...")
        self.add(
            failed,
            CallEnd(*failed[:8], "failed", self.now(), False, error=tuple(error)),  # type: ignore[arg-type]
            self.begin(run, code, "lost"),
        )
        hit = Hit(self.id(), run, None, "pkg.task", ends[0].key, ends[0].id, self.now(), (0, None))
        self.add(
            hit,
            Verified(
                self.id(), run, hit.id, ends[0].id, hit.key, "pkg.task", self.now(), "differs",
                _digest(1), _digest(2), "randomness", "7 is 8",
            ),
            Forget(_digest("key of forgotten"), self.now()),
            Accept("pkg.task", code, (_digest("older code"),), self.now(), "ada"),
            RunEnd(run, "done", self.now()),
        )  # fmt: skip
        gone = self.id()
        self.add(
            RunBegin(gone, "gone", None, "user:ada", "ada", "host", 1, (), (), (), self.now()),
            RunEnd(gone, "failed", self.now(), tuple(error)),  # type: ignore[arg-type]
            Removed(gone, self.now(), "ada", "rm"),
        )
        self.refs(run, ends[1])
        self.write()

    def add(self, *records: Any) -> None:
        self._records += records

    def id(self) -> bytes:
        self._count += 1
        return int(self.now() * 1_000).to_bytes(6, "big") + _digest(self._count)[:10]

    def now(self) -> float:
        self._count += 1
        return EPOCH + self._count

    def put(self, name: str, value: Any) -> Ref:
        return encode(value, digest(value), self._objects.put)

    def begin(self, run: bytes, code: bytes, name: str) -> CallBegin:
        key = _digest(f"key of {name}")
        return CallBegin(self.id(), run, None, f"pkg.{name}", code, key, self.now(), (1, 2))

    def call(self, run: bytes, code: bytes, name: str, value: Any) -> CallEnd:
        return self.end(self.begin(run, code, name), self.put(name, value))

    def end(self, begun: CallBegin, output: Ref, **fields: Any) -> CallEnd:
        ended = CallEnd(*begun, "done", self.now(), True, tuple(output), **fields)  # type: ignore[arg-type]
        self.add(begun, ended)
        return ended

    def environment(self, run: bytes) -> RunEnvironment:
        text = '{"python": "3.11.0", "distributions": [["msgpack", "1.1.0", ""]]}'
        oid = self._objects.put(Header("text", "str"), [text.encode()])
        ref = Ref(digest(text), "str", "text", len(text), None, oid, "")
        return RunEnvironment(run, tuple(ref), "c0ffee", ("a.py",), None, ("b.py",), "")

    def whole(self, run: bytes, code: bytes, versions: bytes, producer: CallEnd) -> CallEnd:
        """A call with something in every field."""
        log = self.put("log", "printed\n")
        described = Argument("big", tuple(Ref(_digest("big"), "DataFrame")), True, {"length": 5})
        given = Argument("x", tuple(self.put("x", 7)), False)
        attempts = (
            tuple(Attempt(0, "failed", self.now(), self.now(), ("E", "m", "t"), tuple(log))),
            tuple(Attempt(1, "done", self.now(), self.now())),
        )
        return self.end(
            self.begin(run, code, "whole"),
            self.put("result", [7, 8]),
            arguments=(tuple(given), tuple(described)),
            edges=(tuple(Edge("x", producer.id, "future", digest(7))),),
            attempts=attempts, stdout=tuple(log), stderr=tuple(log), expires=EPOCH * 2,
            conditions=(tuple(Condition("env", "HOME", _digest("/home"))),),
            versions=versions, tags=("t",), untracked=("getattr",), worker="host:1:worker",
            salt=(("dist:x", _digest("salt")),), parts=(("[0]", digest(7), "int"),),
            miss="expired\tpkg.task\tttl 60 s\t" + producer.id.hex(),
        )  # fmt: skip

    def files(self, run: bytes, code: bytes) -> None:
        """A File and a Dir, with their contents."""
        content = b"the content of a file\n" * 3
        hashed = xxhash.xxh3_128_digest(content)
        oid = self._objects.put(Header(FILE_CONTENT, File.tag), [content])
        file = restored(False, "/data/a.txt", True, hashed, 0o644, len(content), oid)
        self.call(run, code, "file", file)
        entries = (Entry("a.txt", FILE, 0o644, len(content), hashed, None, oid),)
        listing = Header(FOLDER_CONTENT, Dir.tag, None, (oid,))
        folder = self._objects.put(listing, [pack_entries(entries)])
        found = restored(True, "/data", True, hash_of(entries), 0o755, len(content), folder)
        self.call(run, code, "folder", found)

    def refs(self, run: bytes, call: CallEnd) -> None:
        """A ref that has pointed to a run, a call and a value, and was deleted in between."""
        value = Ref(*call.output)  # type: ignore[misc]
        targets = [
            refs.Target("run", run), refs.Target("call", call.id), refs.Target("deleted"),
            refs.Target("artifact", value.digest, value),
        ]  # fmt: skip
        previous = None
        for number, target in enumerate(targets, 1):
            stored = None if target.value is None else tuple(target.value)
            version = refs.Version(
                "model/prod", number, target.kind, target.id, self.now(), "ada", "host",
                f"message {number}", previous, stored, b"random 8",
            )  # fmt: skip
            previous = (target.kind, target.id)
            path = self._root / ref_names.version_key("model/prod", number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(refs.encode(version))

    def write(self) -> None:
        """The segment."""
        place, content = frames.place(WRITER, 1), b""
        head = Head(FORMAT, WRITER, 1, "host", "boot", 1, EPOCH)
        content += frames.encode(frames.SEGMENT_HEAD, msgpack.packb(head), place, 0)
        for record in self._records:
            kind, payload = KIND_OF[type(record)], encode_record(record)
            content += frames.encode(kind, payload, place, len(content))
        path = self._root / "journal" / WRITER / "00000001"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)


def _digest(name: object) -> bytes:
    found: bytes = xxhash.xxh3_128_digest(repr(name).encode())
    return found


def _interned(*members: tuple[str, bytes]) -> bytes:
    found: bytes = xxhash.xxh3_128_digest(msgpack.packb(members))
    return found
