"""A reader of stores that follows docs/store.md alone: nothing of tasklineage is imported.

It says what the page says. Where it has to guess, the page is to be mended.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import xxhash

MAGIC = b"\xc1tlf"


class Record(NamedTuple):
    """A frame of the journal."""

    writer: str
    seq: int
    offset: int
    kind: int
    fields: list[Any]


class Object(NamedTuple):
    """A stored object."""

    codec: str
    type: str
    meta: Any
    children: list[bytes]
    buffers: list[bytes]


def read_format(root: Path) -> dict[str, str]:
    """The lines of the format file."""
    content = (root / "format").read_bytes()
    *lines, last = content.decode("ascii").splitlines(keepends=True)
    assert last == f"checksum {xxhash.xxh3_64(''.join(lines).encode()).hexdigest()}\n"
    assert lines[0] == "tasklineage store\n"
    return dict(line.rstrip("\n").split(" ", 1) for line in lines[1:])


def read_journal(root: Path) -> Iterator[Record]:
    """Every record, the heads of segments among them; damaged bytes are passed over."""
    for path in sorted((root / "journal").glob("*/*")):
        writer, seq = path.parent.name, int(path.name)
        content, offset = path.read_bytes(), 0
        while offset < len(content):
            record = _frame(content, writer, seq, offset)
            if record is None:
                offset = content.find(MAGIC, offset + 1)
                if offset < 0:
                    break
            else:
                yield record[0]
                offset += record[1]


def _frame(content: bytes, writer: str, seq: int, offset: int) -> tuple[Record, int] | None:
    if content[offset : offset + 4] != MAGIC or len(content) < offset + 20:
        return None
    length, kind, version, flags, checksum = struct.unpack_from("<IBBHQ", content, offset + 4)
    payload = content[offset + 20 : offset + 20 + length]
    (covered,) = struct.unpack_from("<Q", content, offset + 4)
    seed = covered ^ int(writer, 16) ^ (seq << 32 | offset)
    if len(payload) != length or xxhash.xxh3_64(payload, seed).intdigest() != checksum:
        return None
    assert (version, flags) == (1, 0)
    return Record(writer, seq, offset, kind, unpack(payload)), 20 + length


def read_object(root: Path, oid: bytes) -> Object:
    """The object of that id."""
    name = oid.hex()
    content = (root / "objects" / name[:2] / name[2:]).read_bytes()
    assert xxhash.xxh3_128(content).digest() == oid
    magic, version, flags, length = struct.unpack_from("<8sHHI", content)
    assert (magic, version, flags) == (b"\x89TLOBJ\r\n", 1, 0)
    codec, kind, meta, children, lengths = unpack(content[48 : 48 + length])
    buffers, at = [], 48 + length
    for size in lengths:
        start = -(-at // 64) * 64
        assert content[at:start] == bytes(start - at)
        at = start + size
        buffers.append(content[start:at])
    assert at == len(content)
    return Object(codec, kind, meta, children, buffers)


def read_refs(root: Path) -> dict[str, list[Any]]:
    """The versions of every ref, as arrays, the oldest first; of names in small letters."""
    found: dict[str, list[Any]] = {}
    for path in sorted((root / "refs").rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            magic, layout, checksum = struct.unpack_from("<4sIQ", content)
            assert (magic, layout) == (b"\xc1tlr", 1)
            assert xxhash.xxh3_64(content[:8] + content[16:]).intdigest() == checksum
            fields = unpack(content[16:])
            assert str(path.parent.relative_to(root / "refs")) == fields[0]
            assert int(path.name) == fields[1]
            found.setdefault(fields[0], []).append(fields)
    return found


def read_value(root: Path, ref: list[Any]) -> Any:
    """The value that a `Ref` stands for, of plain content, text, bytes, and trees of such."""
    _, _, codec, _, data, oid, _ = ref
    if codec == "plain":
        if data is not None:
            return plain(data)
        stored = read_object(root, oid)
        return plain((stored.meta or b"") + stored.buffers[0])
    buffers = unpack(data)[1:] if data is not None else read_object(root, oid).buffers
    if codec == "text":
        return buffers[0].decode("utf-8", "surrogatepass")
    if codec in ("bytes", "bytearray"):
        return buffers[0]
    if codec == "tree":
        return _tree(root, buffers[0])
    raise NotImplementedError(codec)


def plain(content: bytes) -> Any:
    """Plain content, with tuples as tuples where it is marked so."""
    mark = content[:2] if content[:1] == b"\xc1" else b""
    value = msgpack.unpackb(
        content[len(mark) :], use_list=not mark, strict_map_key=False, ext_hook=_extended
    )
    return list(value) if mark == b"\xc1L" else value


def unpack(packed: bytes) -> Any:
    return msgpack.unpackb(packed, strict_map_key=False, unicode_errors="surrogatepass")


def _extended(code: int, data: bytes) -> Any:
    if code == 1:
        return int.from_bytes(data, "little", signed=True)
    if code == 2:
        return complex(*struct.unpack("<dd", data))
    if code in (3, 4, 5):
        items = msgpack.unpackb(data, strict_map_key=False, ext_hook=_extended)
        return (tuple, set, frozenset)[code - 3](items)
    return msgpack.ExtType(code, data)


def _tree(root: Path, skeleton: bytes) -> Any:
    nodes, parts = msgpack.unpackb(skeleton, strict_map_key=False, ext_hook=_extended)[:2]

    def item(one: Any) -> Any:
        if isinstance(one, msgpack.ExtType):
            number = int.from_bytes(one.data, "big")
            return node(number) if one.code == 8 else read_value(root, parts[number])
        return one

    def node(number: int) -> Any:
        kind, *items = nodes[number]
        made = [item(one) for one in items]
        if kind == 2:
            return dict(zip(made[::2], made[1::2], strict=True))
        return (list, tuple, None, set, frozenset)[kind](made)  # type: ignore[misc]

    return node(0)
