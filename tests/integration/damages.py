"""A store with something of everything, and ways to damage it, each with its name in fsck."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgpack
import numpy as np
import xxhash

import tasklineage as tl
from tasklineage import task
from tasklineage.storage import frames, records, refs
from tasklineage.storage.backend import Folder
from tasklineage.storage.journal import Journal
from tasklineage.storage.object_layout import Header, laid_out
from tasklineage.storage.records import CallBegin, CallEnd, Code, Hit, Ref, RunBegin, Versions
from tasklineage.storage.refs import Refs
from tasklineage.storage.sealed import new_seal
from tasklineage.storage.store import Store


@task
def large(n: int) -> Any:
    print("making", n)
    return np.arange(n, dtype="f8")


@task
def small(n: int) -> int:
    return n + 1


@task
def parts(n: int) -> dict[str, Any]:
    return {f"key {i}": f"value {i}" for i in range(1_500)} | {
        "x": large(n), "y": np.ones(n), "n": small(n),
    }  # fmt: skip


@task
def written(text: str) -> tl.File:
    path = Path(os.environ["TASKLINEAGE_STORE"]).parent / "out.txt"
    path.write_text(text * 2_000)
    return tl.File(path)


def make(root: Path) -> None:
    """A store of two runs, with hits, trees, files, logs; the catalog knows all of it."""
    store = tl.open_store(root)
    for name in ("first", "second"):
        with tl.run(name, store=store, params={"name": name, "grid": np.ones(9_000)}, tags=("t",)):
            parts(5_000)
            parts(60_000)
            list(tl.map(small, range(30)))
            written("text ")
            tl.tag(parts(60_000), "model/prod")
            tl.tag(tl.current_run(), "model/prod")
    store.catalog.sync()
    store.close()


class Damage(NamedTuple):
    """One way to damage a store."""

    kind: str
    make: Callable[[Path], object]
    is_damage: bool = True
    names_runs: bool = True
    options: Mapping[str, Any] = MappingProxyType({})


DAMAGES: list[Damage] = []


def damages(
    kind: str, *, is_damage: bool = True, names_runs: bool = True, **options: Any
) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    def noted(make: Callable[[Path], object]) -> Callable[[Path], object]:
        DAMAGES.append(Damage(kind, make, is_damage, names_runs, options))
        return make

    return noted


# What is in a store.


def segment(root: Path) -> Path:
    """The longest one."""
    return max(root.glob("journal/*/*"), key=lambda path: path.stat().st_size)


def frames_of(path: Path, kind: type[Any] | None = None) -> list[tuple[int, int, Any]]:
    """Offset, length and record of each frame of a segment."""
    place = frames.place(path.parent.name, int(path.name))
    found, _ = frames.walk(path.read_bytes(), place, 0)
    decoded = [(at, size, records.decode(k, payload)) for at, size, k, payload in found]
    return [one for one in decoded if kind is None or type(one[2]) is kind]


def objects(root: Path) -> list[Path]:
    """The object files, the smallest first."""
    found = (path for path in root.glob("objects/??/*"))
    return sorted(found, key=lambda path: path.stat().st_size)


def object_of(root: Path, codec: str) -> Path:
    """An object of that codec."""
    for path in objects(root):
        content = path.read_bytes()
        length = struct.unpack_from("<I", content, 12)[0]
        if msgpack.unpackb(content[48 : 48 + length], strict_map_key=False)[0] == codec:
            return path
    raise AssertionError(f"no object of {codec}")


def flip(path: Path, place: int) -> None:
    """One bit is not what it was; the file keeps its times."""
    content, status = bytearray(path.read_bytes()), path.stat()
    content[place] ^= 16
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def append(root: Path, *given: records.Record) -> None:
    """Records as somebody with a bug would write them."""
    journal = Journal(root)
    journal.append(given)
    journal.close()


def put(root: Path, header: Header, *buffers: bytes) -> bytes:
    """The id of an object that nobody else would write."""
    _, pieces = laid_out(header, buffers)
    return put_bytes(root, b"".join(bytes(piece) for piece in pieces))


def put_bytes(root: Path, content: bytes) -> bytes:
    oid: bytes = xxhash.xxh3_128_digest(content)
    path = root / "objects" / oid.hex()[:2] / oid.hex()[2:]
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    return oid


def a_run(root: Path) -> bytes:
    """The id of a run that is there."""
    return frames_of(segment(root), RunBegin)[0][2].id


def an_end(root: Path) -> CallEnd:
    """The record of a call that is there."""
    found: CallEnd = frames_of(segment(root), CallEnd)[0][2]
    return found


def edit_catalog(root: Path, *statements: str) -> None:
    """A catalog that bears its seal and yet says something else."""
    path = root / "catalog.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    seal = new_seal()
    connection.execute("UPDATE seals SET seal = ?", (seal,))
    connection.close()
    os.utime(path, ns=(seal, seal))


def without(kind: type[Any]) -> Callable[[Path], None]:
    """A segment in which the records of a kind are zeros."""

    def make(root: Path) -> None:
        path = segment(root)
        content = bytearray(path.read_bytes())
        for at, size, _ in frames_of(path, kind):
            content[at : at + size] = bytes(size)
        path.write_bytes(content)
        (root / "catalog.sqlite").unlink()

    return make


# The format file.


@damages("format-damaged", names_runs=False)
def format_flipped(root: Path) -> None:
    flip(root / "format", 20)


@damages("format-missing", names_runs=False)
def format_gone(root: Path) -> None:
    (root / "format").unlink()


@damages("format-damaged", names_runs=False)
def format_empty(root: Path) -> None:
    (root / "format").write_bytes(b"")


@damages("not-a-file", names_runs=False)
def format_folder(root: Path) -> None:
    (root / "format").unlink()
    (root / "format").mkdir(0o700)


# Segments and records.


@damages("record-damaged")
def record_flipped(root: Path) -> None:
    at, size, _ = frames_of(segment(root), CallEnd)[3]
    flip(segment(root), at + size - 3)


@damages("record-damaged")
def record_header_flipped(root: Path) -> None:
    at, _, _ = frames_of(segment(root), CallEnd)[3]
    flip(segment(root), at + 5)


@damages("record-damaged")
def record_magic_flipped(root: Path) -> None:
    at, _, _ = frames_of(segment(root), RunBegin)[0]
    flip(segment(root), at)


@damages("record-damaged")
def frames_cut_out(root: Path) -> None:
    path = segment(root)
    at, size, _ = frames_of(path, CallEnd)[4]
    content = path.read_bytes()
    path.write_bytes(content[:at] + content[at + size :])


@damages("record-damaged")
def frames_zeroed(root: Path) -> None:
    path = segment(root)
    content = bytearray(path.read_bytes())
    content[1_000:3_000] = bytes(2_000)
    path.write_bytes(content)


@damages("record-damaged")
def frame_doubled(root: Path) -> None:
    path = segment(root)
    at, size, _ = frames_of(path, CallEnd)[4]
    content = path.read_bytes()
    path.write_bytes(content[: at + size] + content[at:])


@damages("segment-truncated")
def segment_cut(root: Path) -> None:
    path = segment(root)
    at, _, _ = frames_of(path, CallEnd)[-2]
    os.truncate(path, at)


@damages("segment-unfinished", is_damage=False, names_runs=False)
def segment_torn(root: Path) -> None:
    path = segment(root)
    at, size, _ = frames_of(path)[-1]
    os.truncate(path, at + size - 5)
    (root / "catalog.sqlite").unlink()


@damages("segment-missing")
def segment_gone(root: Path) -> None:
    segment(root).unlink()


@damages("segment-missing", names_runs=False)
def segment_skipped(root: Path) -> None:
    journal = Journal(root)
    journal.append([records.Forget(b"k" * 16, 1.0)])
    seq = segment(root)
    writer = journal.writer
    journal._next_segment()  # pyright: ignore[reportPrivateUsage]
    journal.append([records.Forget(b"l" * 16, 1.0)])
    journal.close()
    assert seq.parent.name != writer
    (root / "journal" / writer / "00000001").unlink()


@damages("segment-head")
def head_flipped(root: Path) -> None:
    flip(segment(root), 25)


@damages("segment-misplaced")
def segment_renamed(root: Path) -> None:
    segment(root).rename(segment(root).with_name("00000007"))


@damages("segment-head", names_runs=False)
def segment_empty(root: Path) -> None:
    folder = root / "journal" / ("ab" * 8)
    folder.mkdir(mode=0o700)
    (folder / "00000001").touch(0o600)


@damages("segment-oversize", names_runs=False)
def segment_oversize(root: Path) -> None:
    path = min(root.glob("journal/*/*"), key=lambda path: path.stat().st_size)
    os.truncate(path, (128 << 20) + 1)


@damages("not-a-file")
def segment_fifo(root: Path) -> None:
    path = segment(root)
    path.unlink()
    os.mkfifo(path, 0o600)


@damages("not-a-file")
def segment_link(root: Path) -> None:
    path = segment(root)
    path.rename(root.parent / "elsewhere")
    path.symlink_to(root.parent / "elsewhere")


@damages("record-malformed")
def record_of_other_types(root: Path) -> None:
    append(root, an_end(root)._replace(task=5))  # type: ignore[arg-type]


@damages("record-malformed")
def record_with_a_short_id(root: Path) -> None:
    append(root, an_end(root)._replace(key=b"short"))


@damages("record-malformed", names_runs=False)
def record_that_is_no_array(root: Path) -> None:
    journal = Journal(root)
    journal.append_encoded([(5, msgpack.packb({"task": 1}))])
    journal.close()


@damages("record-newer", is_damage=False, names_runs=False)
def record_of_a_later_kind(root: Path) -> None:
    journal = Journal(root)
    journal.append_encoded([(200, msgpack.packb([1, 2]))])
    journal.close()


@damages("memo-impossible")
def failed_memo(root: Path) -> None:
    append(root, an_end(root)._replace(id=os.urandom(16), status="failed"))


@damages("memo-impossible")
def memo_of_nothing(root: Path) -> None:
    append(root, an_end(root)._replace(id=os.urandom(16), output=Ref(b"d" * 16, "int")))


# What records point to.


@damages("code-missing")
def code_never_written(root: Path) -> None:
    append(root, an_end(root)._replace(id=os.urandom(16), code=b"c" * 16))


damages("code-missing")(without(Code))
damages("run-missing")(without(RunBegin))


@damages("versions-missing")
def versions_never_written(root: Path) -> None:
    append(root, an_end(root)._replace(id=os.urandom(16), versions=b"v" * 16))


@damages("versions-wrong", names_runs=False)
def versions_of_another_digest(root: Path) -> None:
    append(root, Versions(b"v" * 16, (("task", b"c" * 16),)))


@damages("run-missing")
def call_of_no_run(root: Path) -> None:
    append(root, an_end(root)._replace(id=os.urandom(16), run=b"r" * 16))


@damages("producer-missing")
def hit_of_nobody(root: Path) -> None:
    append(root, Hit(os.urandom(16), a_run(root), None, "task", b"k" * 16, b"p" * 16, 1.0))


@damages("parent-missing")
def child_of_nobody(root: Path) -> None:
    append(root, an_end(root)._replace(id=os.urandom(16), parent=b"p" * 16))


@damages("call-unended", is_damage=False)
def begin_without_end(root: Path) -> None:
    end = an_end(root)
    append(root, CallBegin(os.urandom(16), end.run, None, "task", end.code, b"k" * 16, 1.0))


@damages("run-unended", is_damage=False)
def run_without_end(root: Path) -> None:
    run = frames_of(segment(root), RunBegin)[0][2]
    append(root, run._replace(id=os.urandom(16)))


# Objects.


@damages("object-missing")
def object_gone(root: Path) -> None:
    object_of(root, "tree").unlink()


@damages("object-part-missing")
def part_gone(root: Path) -> None:
    store = Store(root)
    tree = bytes.fromhex("".join(object_of(root, "tree").parts[-2:]))
    child = store.objects.open(tree).header.children[-1]
    Path(store.objects.path(child)).unlink()
    store.close()


@damages("object-missing")
def file_content_gone(root: Path) -> None:
    object_of(root, "file content").unlink()


@damages("object-damaged", read_data=1.0)
def object_payload_flipped(root: Path) -> None:
    flip(objects(root)[-1], objects(root)[-1].stat().st_size // 2)


@damages("object-damaged", read_data=1.0)
def object_mac_flipped(root: Path) -> None:
    flip(objects(root)[-1], 20)


@damages("object-damaged", read_data=1.0)
def object_padding_flipped(root: Path) -> None:
    path = object_of(root, "numpy")
    flip(path, 48 + struct.unpack_from("<I", path.read_bytes(), 12)[0] + 1)


@damages("object-malformed")
def object_magic_flipped(root: Path) -> None:
    flip(objects(root)[-1], 1)


@damages("object-malformed")
def object_length_flipped(root: Path) -> None:
    flip(objects(root)[-1], 12)


@damages("object-malformed")
def object_cut(root: Path) -> None:
    os.truncate(objects(root)[-1], objects(root)[-1].stat().st_size - 1)


@damages("object-malformed")
def object_grown(root: Path) -> None:
    with objects(root)[-1].open("ab") as file:
        file.write(b"more")


@damages("object-malformed")
def object_empty(root: Path) -> None:
    os.truncate(objects(root)[-1], 0)


@damages("object-newer", is_damage=False)
def object_of_a_later_layout(root: Path) -> None:
    path = object_of(root, "file content")
    content = bytearray(path.read_bytes())
    content[8] = 2
    path.write_bytes(content)


@damages("object-misplaced")
def object_in_another_folder(root: Path) -> None:
    path = object_of(root, "tree")
    other = root / "objects" / ("00" if path.parent.name != "00" else "01")
    other.mkdir(exist_ok=True, mode=0o700)
    path.rename(other / path.name)


@damages("object-misplaced")
def object_of_another_name(root: Path) -> None:
    path = object_of(root, "tree")
    path.rename(path.with_name("f" * 30))


@damages("object-misplaced")
def object_with_a_suffix(root: Path) -> None:
    path = object_of(root, "tree")
    path.rename(path.with_name(f"{path.name}.bak"))


@damages("not-a-file")
def object_link(root: Path) -> None:
    path = object_of(root, "tree")
    path.rename(root.parent / "elsewhere")
    path.symlink_to(root.parent / "elsewhere")


@damages("not-a-file")
def object_fifo(root: Path) -> None:
    path = object_of(root, "tree")
    path.unlink()
    os.mkfifo(path, 0o600)


@damages("object-mismatch")
def record_of_another_codec(root: Path) -> None:
    path = object_of(root, "numpy")
    oid = bytes.fromhex("".join(path.parts[-2:]))
    ref = Ref(b"d" * 16, "str", "text", 5, None, oid)
    append(root, an_end(root)._replace(id=os.urandom(16), output=ref))


@damages("object-mismatch")
def record_of_another_size(root: Path) -> None:
    path = object_of(root, "numpy")
    oid = bytes.fromhex("".join(path.parts[-2:]))
    ref = Ref(b"d" * 16, "numpy.ndarray", "numpy", 1 << 40, None, oid)
    append(root, an_end(root)._replace(id=os.urandom(16), output=ref))


@damages("object-cycle")
def objects_that_name_each_other(root: Path) -> None:
    oid = put(root, Header("tree", "dict", None, ()), b"")
    path = root / "objects" / oid.hex()[:2] / oid.hex()[2:]
    _, pieces = laid_out(Header("tree", "dict", None, (oid,)), (b"",))
    path.write_bytes(b"".join(bytes(piece) for piece in pieces))
    ref = Ref(b"d" * 16, "dict", "tree", 1, None, oid)
    append(root, an_end(root)._replace(id=os.urandom(16), output=ref))


@damages("object-unreferenced", is_damage=False, names_runs=False)
def object_of_nobody(root: Path) -> None:
    put(root, Header("text", "str"), b"nobody needs this")


# Values.


@damages("value-damaged", decode=True)
def value_that_does_not_decode(root: Path) -> None:
    ref = Ref(b"d" * 16, "list", "plain", 3, b"\xdd\xff\xff")
    append(root, an_end(root)._replace(id=os.urandom(16), output=ref))


@damages("value-differs", decode=True)
def value_of_another_digest(root: Path) -> None:
    ref = Ref(b"d" * 16, "int", "plain", 1, msgpack.packb(5))
    append(root, an_end(root)._replace(id=os.urandom(16), output=ref))


# Refs and lists.


def ref_file(root: Path) -> Path:
    """The newest version of a ref that has three."""
    return max(root.glob("refs/**/*"), key=lambda path: (path.is_file(), path.name))


@damages("ref-damaged", names_runs=False)
def ref_flipped(root: Path) -> None:
    flip(ref_file(root), 30)


@damages("ref-version-missing", names_runs=False)
def ref_version_gone(root: Path) -> None:
    min(path for path in root.glob("refs/**/*") if path.is_file()).unlink()


@damages("ref-broken", names_runs=False)
def ref_to_nothing(root: Path) -> None:
    target = refs.Target("run", b"r" * 16)
    Refs(Folder(str(root))).move("model/prod", target)


@damages("list-damaged", names_runs=False)
def list_flipped(root: Path) -> None:
    path = root / "gc" / "condemned" / "1"
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(bytes(30))
    path.chmod(0o600)


# Caches and the catalog.


@damages("cache-damaged", names_runs=False)
def verified_flipped(root: Path) -> None:
    (root / "verified").write_bytes(bytes(56 * 3))


@damages("cache-damaged", names_runs=False)
def hashes_flipped(root: Path) -> None:
    (root / "hashes").write_bytes(bytes(64 * 3))


@damages("cache-torn", is_damage=False, names_runs=False)
def verified_torn(root: Path) -> None:
    (root / "verified").write_bytes(bytes(57))


@damages("verified-wrong", read_data=1.0)
def verified_vouches_for_a_damaged_object(root: Path) -> None:
    from tasklineage.storage.verified import Verified

    path = objects(root)[-1]
    flip(path, path.stat().st_size // 2)
    state = path.stat()
    key = (state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns)
    Verified(root).note_verified(bytes.fromhex("".join(path.parts[-2:])), key)


@damages("catalog-differs")
def catalog_with_another_status(root: Path) -> None:
    edit_catalog(root, "UPDATE calls SET status = 'failed' WHERE status = 'done'")


@damages("catalog-differs")
def catalog_without_a_run(root: Path) -> None:
    edit_catalog(root, "DELETE FROM runs WHERE name = 'second'")


@damages("catalog-differs", names_runs=False)
def catalog_with_a_memo_more(root: Path) -> None:
    edit_catalog(root, "INSERT INTO memos VALUES (x'00', x'01', 1.0, 1, 1, 1)")


@damages("catalog-damaged", names_runs=False)
def catalog_with_a_trigger(root: Path) -> None:
    edit_catalog(root, "CREATE TRIGGER t AFTER INSERT ON calls BEGIN DELETE FROM runs; END")


@damages("catalog-stale", is_damage=False, names_runs=False)
def catalog_touched(root: Path) -> None:
    os.utime(root / "catalog.sqlite")


@damages("catalog-stale", is_damage=False, names_runs=False)
def catalog_overwritten(root: Path) -> None:
    (root / "catalog.sqlite").write_bytes(b"no database" * 900)


# What lies about.


@damages("foreign", is_damage=False, names_runs=False)
def foreign_file(root: Path) -> None:
    (root / "notes.txt").touch(0o600)


@damages("foreign", is_damage=False, names_runs=False)
def foreign_file_in_the_journal(root: Path) -> None:
    (segment(root).parent / "notes.txt").touch(0o600)


@damages("foreign", is_damage=False, names_runs=False)
def foreign_folder_among_objects(root: Path) -> None:
    (root / "objects" / "notes").mkdir(0o700)


@damages("mode", is_damage=False, names_runs=False)
def mode_of_a_segment(root: Path) -> None:
    segment(root).chmod(0o644)


@damages("mode", is_damage=False, names_runs=False)
def mode_of_an_object(root: Path) -> None:
    objects(root)[0].chmod(0o666)


@damages("leftover", is_damage=False, names_runs=False)
def object_half_written(root: Path) -> None:
    (root / "objects" / "tmp" / "fffffff-0123456789abcdef").touch(0o600)


@damages("leftover", is_damage=False, names_runs=False)
def segment_half_made(root: Path) -> None:
    (root / "journal" / f".{'ab' * 8}-00000001").touch(0o600)


@damages("quarantined", is_damage=False, names_runs=False)
def object_in_quarantine(root: Path) -> None:
    (root / "quarantine").mkdir(0o700)
    (root / "quarantine" / f"{'ab' * 16}-12345678").touch(0o600)
