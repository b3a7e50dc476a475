"""Stores that a stranger might hand over: each looks like one, and means harm."""

from __future__ import annotations

import os
import pickle
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import xxhash

from tasklineage.storage import frames, records, refs
from tasklineage.storage.object_layout import Header
from tasklineage.storage.records import Argument, CallEnd, Ref, RunBegin
from tasklineage.storage.segment import FORMAT, Head
from tests.integration.damages import edit_catalog, object_of, objects, put, put_bytes, segment

CORPUS: list[Callable[[Path], object]] = []
MAGIC = b"\x89TLOBJ\r\n"


def hostile(make: Callable[[Path], object]) -> Callable[[Path], object]:
    CORPUS.append(make)
    return make


class Harm:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def harm(root: Path) -> bytes:
    """A pickle that executes something."""
    return pickle.dumps(Harm(root.parent / "executed"))


def forge(root: Path, *payloads: tuple[int, bytes]) -> None:
    """A segment with any payloads under sound checksums."""
    writer = os.urandom(8).hex()
    place, content = frames.place(writer, 1), b""
    head = msgpack.packb(Head(FORMAT, writer, 1, "host", "boot", 1, 1.75e9))
    for kind, payload in ((frames.SEGMENT_HEAD, head), *payloads):
        content += frames.encode(kind, payload, place, len(content))
    path = root / "journal" / writer / "00000001"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)


def a_run(**fields: Any) -> RunBegin:
    run = RunBegin(
        os.urandom(16), "hostile", None, "user:a", "a", "h", 1, (), (), (), 1.75e9
    )  # fmt: skip
    return run._replace(**fields)


def a_call(run: RunBegin, **fields: Any) -> CallEnd:
    call = CallEnd(
        os.urandom(16), run.id, None, "pkg.task", b"c" * 16, b"k" * 16, 1.75e9, None, "done",
        1.75e9 + 1, True,
    )  # fmt: skip
    return call._replace(**fields)


def record(root: Path, *given: Any) -> None:
    """These records, whatever is in them."""
    forge(root, *((records.KIND_OF[type(one)], records.encode(one)) for one in given))


def result(root: Path, ref: Ref, **fields: Any) -> None:
    """A call whose result, argument, log and parameter is that."""
    run = a_run(params=(("p", tuple(ref)),))
    given = (tuple(Argument("x", tuple(ref))),)
    call = a_call(
        run, output=tuple(ref), arguments=given, stdout=tuple(ref), stderr=tuple(ref), **fields
    )
    record(root, run, call)


def inline(kind: str, codec: str, meta: Any, *buffers: bytes) -> Ref:
    """A small value of that codec."""
    return Ref(b"d" * 16, kind, codec, 10, msgpack.packb([meta, *buffers]), None, "preview")


def raw_object(header: bytes, rest: bytes = b"", length: int | None = None) -> bytes:
    """The bytes of an object with any header."""
    size = len(header) if length is None else length
    return MAGIC + struct.pack("<HHI32s", 1, 0, size, bytes(32)) + header + rest


def object_result(root: Path, content: bytes, codec: str = "numpy", nbytes: int = 1) -> None:
    """A call whose result is an object of these bytes."""
    result(root, Ref(b"d" * 16, "numpy.ndarray", codec, nbytes, None, put_bytes(root, content)))


# Code in values.


def _pickled(kind: str, codec: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        data = harm(root)
        result(root, inline(kind, codec, [], data))
        oid = put(root, Header(codec, kind, []), data)
        result(root, Ref(b"e" * 16, kind, codec, len(data), None, oid))

    make.__name__ = f"a_{codec}_said_to_be_{kind.replace('.', '_')}"
    return make


for kind in (
    "int",
    "str",
    "list",
    "bytes",
    "NoneType",
    "numpy.ndarray",
    "matplotlib.figure.Figure",
):
    for codec in ("pickle", "cloudpickle", "figure"):
        hostile(_pickled(kind, codec))


@hostile
def a_pickle_as_a_part_of_a_tree(root: Path) -> None:
    part = list(inline("int", "pickle", [], harm(root)))
    skeleton = msgpack.packb([[[0, msgpack.ExtType(9, bytes(4))]], [part]])
    result(root, inline("list", "tree", None, skeleton))


@hostile
def an_array_of_objects(root: Path) -> None:
    result(root, inline("numpy.ndarray", "numpy", ["|O", [1], "C"], harm(root)))
    result(root, inline("numpy.ndarray", "numpy", {"dtype": "|O", "shape": [1]}, harm(root)))


@hostile
def an_instance_of_a_class_that_does_something(root: Path) -> None:
    form = [0, "os", "system", ["command"]]
    skeleton = msgpack.packb([[[5, 0, "touch executed"]], [], [form]])
    result(root, inline("os.system", "tree", None, skeleton))


@hostile
def an_environment_that_is_a_pickle(root: Path) -> None:
    run = a_run()
    ref = tuple(inline("str", "pickle", [], harm(root)))
    record(root, run, records.RunEnvironment(run.id, ref, "", (), ref))


@hostile
def a_ref_to_a_pickle(root: Path) -> None:
    value = tuple(inline("int", "pickle", [], harm(root)))
    version = refs.Version("x", 1, "artifact", b"d" * 16, 1.75e9, "a", "h", "", None, value, b"n")
    path = root / "refs" / "x" / "00000001"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(refs.encode(version))


# Bombs of msgpack.

BOMBS: dict[str, bytes] = {
    "nested_lengths": b"\xdd\x00\x0f\xff\xff" * 200_000,
    "nested_lengths_that_are_small": b"\xdc\x3f\xff" * 5_000,
    "deep_arrays": b"\x91" * 3_000_000,
    "deep_arrays_that_are_small": b"\x91" * 15_000,
    "deep_maps": b"\x81\x01" * 1_000_000,
    "deep_keys": b"\x81" * 500_000,
    "a_map_of_four_billion": b"\xdf\xff\xff\xff\xff",
    "an_array_of_four_billion": b"\xdd\xff\xff\xff\xff",
    "bytes_of_four_billion": b"\xc6\xff\xff\xff\xff",
    "extension_of_four_billion": b"\xc9\xff\xff\xff\xff\x03",
    "a_million_nothings": b"\xdd\x00\x0f\x42\x40" + b"\xc0" * 1_000_000,
    "nested_extensions": b"",
    "no_msgpack": b"\xc1" * 100,
    "nothing": b"",
    "a_timestamp": b"\xc7\x0c\xff" + b"\xff" * 12,
}
_nested = b"\x90"
for _ in range(2_000):
    _nested = msgpack.packb(msgpack.ExtType(3, b"\x91" + _nested))
BOMBS["nested_extensions"] = _nested


def _bomb_record(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        bomb = BOMBS[name]
        first = (
            msgpack.packb(records.encode(a_call(a_run())))[:0] + b"\x98" + b"\xc4\x10" + b"i" * 16
        )
        given = [(kind, bomb) for kind in (*records.KINDS, 0, 77)]
        forge(root, *given, *((kind, first + bomb) for kind in records.KINDS))

    make.__name__ = f"records_of_{name}"
    return make


def _bomb_values(name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        bomb = BOMBS[name]
        for codec in ("plain", "tree", "numpy", "file", "text", "pandas", "image", "dir", "torch"):
            data = (
                bomb if codec == "plain" else b"\x92\xc0\xc6" + struct.pack(">I", len(bomb)) + bomb
            )
            result(root, Ref(b"d" * 16, "list", codec, 5, data))
            oid = put(root, Header(codec, "list"), bomb)
            result(root, Ref(b"e" * 16, "list", codec, 5, None, oid))
        object_result(root, raw_object(bomb))
        object_result(root, raw_object(b"\x95\xa5numpy\xa1x" + bomb))
        (root / "gc" / "condemned").mkdir(parents=True, exist_ok=True)
        head = struct.pack("<4sIQ", b"\xc1tlg", 1, xxhash.xxh3_64_intdigest(bomb))
        (root / "gc" / "condemned" / "1").write_bytes(head + bomb)
        path = root / "refs" / "x" / "00000001"
        path.parent.mkdir(parents=True, exist_ok=True)
        checked = struct.pack("<4sI", b"\xc1tlr", 1)
        checksum = struct.pack("<Q", xxhash.xxh3_64_intdigest(checked + bomb))
        path.write_bytes(checked + checksum + bomb)

    make.__name__ = f"values_of_{name}"
    return make


for name in BOMBS:
    hostile(_bomb_record(name))
    hostile(_bomb_values(name))


# Sizes.


@hostile
def a_frame_of_four_gigabytes(root: Path) -> None:
    with segment(root).open("ab") as file:
        file.write(frames.MAGIC + b"\xff" * 16 + b"x" * 1000)


@hostile
def a_segment_of_beginnings(root: Path) -> None:
    with segment(root).open("ab") as file:
        for length in (20, 1 << 20, 60 << 20):
            file.write((frames.MAGIC + struct.pack("<I", length) + bytes(12)) * 20_000)


@hostile
def a_segment_without_an_end(root: Path) -> None:
    os.truncate(segment(root), 1 << 42)


@hostile
def an_object_without_an_end(root: Path) -> None:
    path = objects(root)[-1]
    content = path.read_bytes()
    path.write_bytes(content[:12] + b"\xff\xff\xff\x7f" + content[16:])
    os.truncate(path, 6 << 30)


@hostile
def many_writers(root: Path) -> None:
    for number in range(3_000):
        folder = root / "journal" / f"{number:016x}"
        folder.mkdir()
        (folder / "99999999").write_bytes(b"x")


@hostile
def caches_of_nonsense(root: Path) -> None:
    for name in ("verified", "hashes"):
        with (root / name).open("wb") as file:
            file.truncate(1 << 40)


def _header(*fields: Any) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        object_result(root, raw_object(msgpack.packb(list(fields), strict_types=False), bytes(100)))

    make.__name__ = "a_header_of_" + "_".join(str(type(field).__name__) for field in fields)
    return make


for fields in (
    ("numpy", "x", None, [], [1 << 62]),
    ("numpy", "x", None, [], [-1]),
    ("numpy", "x", None, [], [0] * 200_000),
    ("numpy", "x", None, [], 5),
    ("numpy", "x", None, [], {"a": 1}),
    ("numpy", "x", None, [b"short"], []),
    ("numpy", "x", None, 7, []),
    ("numpy", "x", None, [b"o" * 16] * 100_000, []),
    (1, 2, 3, 4, 5),
    ("numpy",),
):
    hostile(_header(*fields))


@hostile
def arrays_of_enormous_shapes(root: Path) -> None:
    for meta in (
        ["<f8", [1 << 60], "C"], ["<f8", [0, 1 << 60], "C"], ["|V2147483647", [1], "C"],
        ["<f8", [-1], "C"], ["<f8", [1] * 100, "C"], [[["a", "<f8"]] * 10_000, [1], "C"],
        {"dtype": "<f8", "shape": [1 << 60], "order": "C"}, [], None, 5, "x", ["<U1000000000", [1]],
    ):  # fmt: skip
        for codec in ("numpy", "torch", "scipy", "jax", "image", "pandas", "polars", "pyarrow"):
            result(root, inline("numpy.ndarray", codec, meta, bytes(8)))


@hostile
def trees_that_grow(root: Path) -> None:
    node = [
        [1, *(msgpack.ExtType(8, (n + 1).to_bytes(4, "big")) for _ in range(9))] for n in range(40)
    ]
    for kind in (0, 1, 2, 3, 4):
        nodes = [[kind, *row[1:]] for row in node] + [[kind]]
        result(root, inline("list", "tree", None, msgpack.packb([nodes, []])))


@hostile
def trees_that_hold_themselves(root: Path) -> None:
    for kind in range(7):
        skeleton = msgpack.packb([[[kind, msgpack.ExtType(8, bytes(4))]], []])
        result(root, inline("list", "tree", None, skeleton))
    for number in (b"\xff\xff\xff\xff", b"", b"\0" * 40):
        for code in (8, 9):
            skeleton = msgpack.packb([[[0, msgpack.ExtType(code, number)]], []])
            result(root, inline("list", "tree", None, skeleton))


@hostile
def objects_in_a_circle(root: Path) -> None:
    first, second = b"1" * 16, b"2" * 16
    for oid, other in ((first, second), (second, first)):
        content = raw_object(msgpack.packb(["tree", "x", None, [other], []]))
        path = root / "objects" / oid.hex()[:2] / oid.hex()[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    result(root, Ref(b"d" * 16, "list", "tree", 1, None, first))


@hostile
def a_long_chain_of_objects(root: Path) -> None:
    oid = put(root, Header("text", "str"), b"end")
    for _ in range(3_000):
        oid = put(root, Header("tree", "x", None, (oid,)), b"\x92\x90\x90")
    result(root, Ref(b"d" * 16, "list", "tree", 1, None, oid))


# Fields.

ODD: tuple[Any, ...] = (
    None, True, -1, 1 << 63, float("nan"), float("inf"), 1e300, -1e300, "", "\ud800", "\0\x1b[2J\n",
    "x" * 300_000, b"", b"\xff" * 16, b"x" * 300_000, (), ((),), (1, 2, 3), {"a": 1}, (None,) * 40,
)  # fmt: skip


def _odd_fields(kind: type[Any]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        run = a_run()
        base: Any = run if kind is RunBegin else a_call(run, output=tuple(Ref(b"d" * 16, "int")))
        for name in kind._fields:
            given = [base._replace(**{name: odd}) for odd in ODD]
            if name != "id":
                given = [one._replace(id=os.urandom(16)) for one in given]
            record(root, run, *given)

    make.__name__ = f"odd_fields_of_{kind.__name__}"
    return make


for kind in (RunBegin, CallEnd):
    hostile(_odd_fields(kind))


@hostile
def odd_fields_of_the_others(root: Path) -> None:
    for kind in records.KINDS.values():
        if kind not in (RunBegin, CallEnd):
            for odd in ODD:
                forge(root, (records.KIND_OF[kind], msgpack.packb(
                    [odd] * len(kind._fields), unicode_errors="surrogatepass")))  # fmt: skip


@hostile
def odd_parts_of_values(root: Path) -> None:
    for name in Ref._fields:
        for odd in ODD:
            ref = Ref(b"d" * 16, "int", "plain", 1, msgpack.packb(5), None, "5")
            result(root, ref._replace(**{name: odd}), parts=((odd, odd, odd),), salt=((odd, odd),))


@hostile
def odd_parts_of_calls(root: Path) -> None:
    for odd in ODD:
        run = a_run(argv=(odd,), tags=(odd,), params=((odd, odd),))
        for name in (
            "arguments",
            "edges",
            "attempts",
            "conditions",
            "mutated",
            "tags",
            "untracked",
        ):
            record(root, run, a_call(run, **{name: (odd,)}), a_call(run, **{name: ((odd,) * 5,)}))
        record(root, a_call(run, error=(odd, odd, odd), position=(odd, odd), status="failed"))


@hostile
def calls_that_made_each_other(root: Path) -> None:
    run = a_run()
    first, second = os.urandom(16), os.urandom(16)
    edges = (("x", second, "future", b"d" * 16),)
    record(
        root, run._replace(parent=run.id),
        a_call(run, id=first, parent=second, edges=edges),
        a_call(run, id=second, parent=first, edges=(("x", first, "future", b"d" * 16),)),
        records.Hit(b"h" * 16, run.id, first, "pkg.task", b"k" * 16, b"h" * 16, 1.75e9),
        records.Hit(b"g" * 16, run.id, b"g" * 16, "pkg.task", b"k" * 16, b"h" * 16, 1.75e9),
    )  # fmt: skip


@hostile
def a_deep_call_tree(root: Path) -> None:
    run, parent, given = a_run(), None, []
    for number in range(3_000):
        call = a_call(run, id=number.to_bytes(16, "big"), parent=parent)
        given.append(call)
        parent = call.id
    record(root, run, *given)


@hostile
def runs_in_each_other(root: Path) -> None:
    runs = [a_run(id=bytes([n]) * 16, parent=bytes([(n + 1) % 50]) * 16) for n in range(50)]
    record(root, *runs)


@hostile
def code_without_an_end(root: Path) -> None:
    run = a_run()
    part = ("function", "f", b"d" * 16, "def f(): " + "(" * 5_000)
    names = ("names", "f", b"d" * 16, "m\n" + "a\tb\tc\n" * 50_000)
    code = records.Code(b"c" * 16, "pkg.task", (part, names) * 5, b"m" * 1_000_001, b"p" * 7)
    record(root, run, code, a_call(run), a_call(run, code=b"x" * 16))


# Places.


@hostile
def files_that_lead_elsewhere(root: Path) -> None:
    for path in ("/etc/passwd", "../../etc/passwd", "/proc/self/mem", "/dev/zero", "", "/a\0b"):
        for codec in ("file", "dir"):
            meta = [path, True, b"h" * 16, 0o644, 1 << 50, b"o" * 16]
            result(root, Ref(b"d" * 16, "File", codec, 5, msgpack.packb([meta]), b"o" * 16))


@hostile
def folders_that_lead_elsewhere(root: Path) -> None:
    for name in ("../x", "/etc/x", "a/../../x", "", ".", "a\0"):
        rows = [
            [name, "file", 0o644, 1, b"h" * 16, None, b"o" * 16],
            ["l", "link", 0, 0, None, name, None],
        ]
        oid = put(root, Header("folder content", "Dir"), msgpack.packb(rows))
        meta = ["/data", True, b"h" * 16, 0o755, 1, oid]
        result(root, Ref(b"d" * 16, "Dir", "dir", 5, msgpack.packb([meta]), oid))


@hostile
def names_that_lead_elsewhere(root: Path) -> None:
    for name in (
        "%2e%2e",
        "%2e%2e%2fx",
        "..%2f..",
        "%",
        "%zz",
        "a" * 250,
        "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"),
    ):
        path = root / "refs" / name / "00000001"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (root / "pins").mkdir(exist_ok=True)
    for name in ("run-" + "0" * 32, "call-zz", "artifact-" + "f" * 32, "x" * 200):
        (root / "pins" / name).write_bytes(b"x" * 100_000)


PLACES = (
    "format", "catalog.sqlite", "verified", "hashes", "locks", "locks/keys", "locks/catalog",
    "locks/gc", "waits", f"waits/{'ab' * 8}", "journal", f"journal/{'ab' * 8}",
    f"journal/{'ab' * 8}/00000001", "objects", "objects/00", f"objects/00/{'00' * 15}",
    "objects/tmp", "refs", "refs/x/00000001", "pins", f"pins/run-{'0' * 32}", "gc", "gc/epochs",
    "gc/condemned/1", "gc/sweeps/1", "quarantine", "SEGMENT", "OBJECT",
)  # fmt: skip


def place(root: Path, name: str) -> Path:
    """Where something goes; there is nothing now."""
    import shutil

    known = {"SEGMENT": lambda: segment(root), "OBJECT": lambda: object_of(root, "numpy")}
    path = known[name]() if name in known else root / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _odd_file(kind: str, name: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        path, victim = place(root, name), root.parent / "victim"
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "link":
            victim.write_bytes(b"what the user has written\n" * 100)
            path.symlink_to(victim)
        elif kind == "dangling_link":
            path.symlink_to(root.parent / "made-by-a-store")
        elif kind == "endless_link":
            path.symlink_to("/dev/zero")
        elif kind == "loop":
            path.symlink_to(path)
        else:
            path.mkdir()

    make.__name__ = f"a_{kind}_as_{name.replace('/', '_')}"
    return make


for kind in ("fifo", "link", "dangling_link", "endless_link", "loop", "folder"):
    for name in PLACES:
        hostile(_odd_file(kind, name))


# Catalogs.


@hostile
def a_catalog_of_views(root: Path) -> None:
    edit_catalog(
        root, "DROP TABLE calls",
        "CREATE VIEW calls AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)"
        " SELECT id, 1 AS run, NULL AS parent, 1 AS task FROM n",
    )  # fmt: skip


@hostile
def a_catalog_of_triggers(root: Path) -> None:
    edit_catalog(root, "CREATE TRIGGER t AFTER INSERT ON calls BEGIN DELETE FROM runs; END")


@hostile
def a_catalog_of_other_types(root: Path) -> None:
    edit_catalog(
        root, "UPDATE runs SET started = 'yesterday', name = x'ff', user = 5",
        *(f"UPDATE calls SET {column} = {value}" for column, value in (
            ("started", "'text'"), ("ended", "x'00'"), ("status", "7"), ("offset", "-1"),
            ("length", "99999999999"), ("segment", "'x'"),
        )),
    )  # fmt: skip


@hostile
def a_catalog_of_other_types_still(root: Path) -> None:
    edit_catalog(
        root, "UPDATE runs SET started = 'yesterday', name = x'ff', user = 5",
        "UPDATE calls SET started = 'text', status = 7, offset = -1, length = 99999999999",
        "UPDATE segments SET writer = '../../../etc', number = 'x', known = -5",
        "UPDATE memos SET ended = 'x', offset = 1e300",
    )  # fmt: skip


@hostile
def a_catalog_of_much(root: Path) -> None:
    edit_catalog(
        root,
        "UPDATE runs SET name = zeroblob(10000000)",
        "UPDATE tasks SET name = zeroblob(3000000 + n)",
    )


@hostile
def a_catalog_with_a_journal(root: Path) -> None:
    for end in ("-journal", "-wal", "-shm"):
        (root / f"catalog.sqlite{end}").write_bytes(
            b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600)
        )


@hostile
def a_catalog_in_another_mode(root: Path) -> None:
    connection = sqlite3.connect(root / "catalog.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    edit_catalog(root)


@hostile
def a_catalog_of_pages_that_hold_each_other(root: Path) -> None:
    path = root / "catalog.sqlite"
    content = bytearray(path.read_bytes())
    size = 8192
    for number in range(1, len(content) // size):
        page = bytearray(size)
        page[0], page[8:12] = 5, struct.pack(">I", 2)
        cells = 500
        page[3:5], page[5:7] = struct.pack(">H", cells), struct.pack(">H", 4000)
        for cell in range(cells):
            page[12 + 2 * cell : 14 + 2 * cell] = struct.pack(">H", 4000 + 8 * cell)
            page[4000 + 8 * cell : 4005 + 8 * cell] = struct.pack(">I", 1 + number % 5) + b"\x01"
        content[number * size : (number + 1) * size] = page
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
