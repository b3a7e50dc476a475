"""Bundles: what was put in comes out, and nothing else of what a stranger puts in does any harm."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasklineage.errors import CorruptObject, MissingObject, StoreError, StoreNotFound
from tasklineage.key.digest import digest
from tasklineage.query.transfers import export_bundle, import_bundle
from tasklineage.storage import bundle
from tasklineage.storage import format as layout
from tasklineage.storage.fsck import check
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import CallEnd, Ref
from tasklineage.storage.refs import RUN, Target
from tasklineage.storage.store import Store
from tests.unit.storage.history import History

LARGE = b"large " * 50_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a run of two calls, one of which has its result in an object."""
    store, history = open_store(tmp_path / "source"), History()
    run = history.run()
    store.append(run)
    for value in (LARGE, 5):
        output = store.put(value, digest(value))
        store.append(*history.call(run, key=repr(value)[:9], output=output))
    store.append(history.end_run(run))
    yield store
    store.close()


@pytest.fixture
def made(tmp_path: Path, store: Store) -> Path:
    export_bundle(tmp_path / "x.tar", store=store)
    return tmp_path / "x.tar"


def packed(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = 1) -> Path:
    """An archive with these members behind a sound format file."""
    with tarfile.open(path, "w", format=form) as archive:
        for info, content in ((tarfile.TarInfo(layout.FILE), layout.content()), *members):
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_a_bundle_is_a_store_that_tar_can_unpack(made: Path, tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", made, "-C", tmp_path / "unpacked"], check=True)
    unpacked = open_store(tmp_path / "unpacked", create=False)
    rows = unpacked.catalog.find_calls()
    assert len(rows) == 2
    with tarfile.open(made) as archive:
        names = sorted(archive.getnames())
    assert [name.partition("/")[0] for name in names] == ["format", "journal", "objects"]


def test_the_same_store_makes_the_same_bundle_but_for_its_writer(
    made: Path, store: Store, tmp_path: Path
) -> None:
    export_bundle(tmp_path / "y.tar", store=store)
    assert (tmp_path / "y.tar").stat().st_size == made.stat().st_size
    assert import_bundle(made, store=tmp_path / "there").calls == 2
    assert import_bundle(tmp_path / "y.tar", store=tmp_path / "there").records == 0


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
def test_a_store_that_tar_has_packed_is_a_bundle(form: str, store: Store, tmp_path: Path) -> None:
    store.catalog.sync()
    command = ["tar", f"--format={form}", "-cf", tmp_path / "x.tar", "-C", store.path, "."]
    subprocess.run(command, check=True)
    assert import_bundle(tmp_path / "x.tar", store=tmp_path / "there").calls == 2


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE,
                                  tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE,
                                  tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGLINK,
                                  tarfile.XGLTYPE, b"?"])  # fmt: skip
def test_what_is_no_plain_file_is_refused(kind: bytes, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar", (member("journal", kind, "/etc"), b""))
    with pytest.raises(StoreError, match="link or a device"):
        import_bundle(path, store=tmp_path / "there")
    assert not (tmp_path / "there" / "journal").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "/etc/passwd", "journal/../../outside", "objects/ab/../../../x", "a//b",
        "refs/./x", "..", "./../x", "refs/" + "n" * 200 + "/../../../x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_leads_out_is_refused(name: str, form: int, tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar", (member(name), b"harm"), form=form)
    with pytest.raises(StoreError, match="leads out"):
        import_bundle(path, store=tmp_path / "there")
    assert {p.name for p in tmp_path.iterdir()} <= {"x.tar", "there"}


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    name = f"objects/ab/{'c' * 30}"
    path = packed(tmp_path / "x.tar", (member(name), b"one"), (member(name), b"two"))
    with pytest.raises(StoreError, match="twice"):
        import_bundle(path, store=tmp_path / "there")


def test_a_length_beyond_the_archive_is_refused_and_never_allocated(tmp_path: Path) -> None:
    info = member(f"objects/ab/{'c' * 30}")
    for size in (1 << 60, 1 << 33, 5_000_000):
        info.size = size
        content = layout.content()
        head = tarfile.TarInfo(layout.FILE)
        head.size = len(content)
        data = head.tobuf(tarfile.GNU_FORMAT) + content.ljust(512, b"\0")
        (tmp_path / "x.tar").write_bytes(data + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        with pytest.raises(StoreError, match="does not end"):
            import_bundle(tmp_path / "x.tar", store=tmp_path / "there")


def test_an_endless_name_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar", (member("refs/" + "n" * 200_000), b"x"), form=1)
    with pytest.raises(StoreError, match="name in it takes"):
        import_bundle(path, store=tmp_path / "there")


def test_a_sparse_file_of_pax_does_not_become_large(tmp_path: Path) -> None:
    info = member("journal/" + "a" * 16 + "/00000001")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 50)}
    path = packed(tmp_path / "x.tar", (info, b"1\n0\n"), form=tarfile.PAX_FORMAT)
    with pytest.raises(CorruptObject, match="journal"):
        import_bundle(path, store=tmp_path / "there")
    assert not list((tmp_path / "there").rglob("0000*"))


def test_every_cut_of_a_bundle_is_refused_or_harmless(made: Path, tmp_path: Path) -> None:
    whole = made.read_bytes()
    for end in (0, 1, 511, 512, 700, len(whole) // 2, len(whole) - 1025, len(whole) - 1024):
        (tmp_path / "cut.tar").write_bytes(whole[:end])
        with pytest.raises(StoreError):
            import_bundle(tmp_path / "cut.tar", store=tmp_path / "there")
    assert not open_store(tmp_path / "there").catalog.find_runs()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(600), b"\x8a" * 2000, bytes(2048)])
def test_what_is_no_bundle_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(StoreError, match=r"no bundle|not opened"):
        import_bundle(tmp_path / "x.tar", store=tmp_path / "there")
    with pytest.raises(StoreNotFound):
        import_bundle(tmp_path / "nothing.tar", store=tmp_path / "there")


def test_a_newer_format_is_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info, content = tarfile.TarInfo(layout.FILE), layout.content(99)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    with pytest.raises(StoreError, match="upgrade"):
        import_bundle(tmp_path / "x.tar", store=tmp_path / "there")


def test_a_flipped_byte_anywhere_gives_nothing_wrong(made: Path, tmp_path: Path) -> None:
    whole = made.read_bytes()
    for number, at in enumerate(range(100, len(whole), len(whole) // 60)):
        changed = bytearray(whole)
        changed[at] ^= 0x10
        (tmp_path / "bad.tar").write_bytes(changed)
        there = tmp_path / f"there-{number}"
        with contextlib.suppress(StoreError, CorruptObject, MissingObject):
            import_bundle(tmp_path / "bad.tar", store=there)
        with open_store(there) as opened:
            assert all(value in (LARGE, 5) for value in results(opened))


def results(store: Store) -> Iterator[object]:
    """What the calls gave, as far as it can be read."""
    for row in store.catalog.find_calls():
        record = store.journal.read(row.location)
        if isinstance(record, CallEnd) and record.output is not None:
            with contextlib.suppress(MissingObject):
                yield store.get(Ref(*record.output))


def test_an_object_that_is_another_is_told_and_left_out(store: Store, tmp_path: Path) -> None:
    name = "ab" * 16
    path = packed(tmp_path / "x.tar", (member(f"objects/{name[:2]}/{name[2:]}"), b"not it"))
    with bundle.opened(path) as opened:
        assert opened.objects.size(bytes.fromhex(name)) == 6
        assert opened.objects.children(bytes.fromhex(name)) == ()
        with pytest.raises(CorruptObject):
            store.objects.adopt(bytes.fromhex(name), opened.objects.blocks(bytes.fromhex(name)))
        with pytest.raises(MissingObject):
            next(opened.objects.blocks(bytes(16)))
    assert not store.objects.has(bytes.fromhex(name))


def test_an_export_does_not_replace_a_file_unless_asked(store: Store, made: Path) -> None:
    with pytest.raises(StoreError, match="there already"):
        export_bundle(made, store=store)
    assert export_bundle(made, store=store, replace=True).calls == 2


def test_a_damaged_object_leaves_a_sound_bundle_without_it(store: Store, tmp_path: Path) -> None:
    for path in (store.path / "objects").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptObject) as told:
        export_bundle(tmp_path / "x.tar", store=store)
    assert told.value.transfer.calls == 2  # type: ignore[attr-defined]
    with pytest.raises(MissingObject):
        import_bundle(tmp_path / "x.tar", store=tmp_path / "there")
    assert len(open_store(tmp_path / "there").catalog.find_calls()) == 2


def test_records_that_nobody_writes_so_are_left_out(store: Store, tmp_path: Path) -> None:
    known = store.catalog.find_calls()[0]
    record = store.journal.read(known.location)
    for change in ({"task": 5}, {"output": ("x",) * 7}, {"arguments": (1, 2)}, {"run": b"short"}):
        store.append(record._replace(id=os.urandom(16), **change))
    with open_store(tmp_path / "unchecked") as other:
        command = ["tar", "-cf", tmp_path / "x.tar", "-C", store.path, "."]
        subprocess.run(command, check=True)
        taken = import_bundle(tmp_path / "x.tar", store=other)
        assert (taken.calls, taken.unknown) == (2, 4)
    kinds = {found.kind for found in check(tmp_path / "unchecked").damage}
    assert kinds == {"code-missing"}  # this history has no code


def test_a_ref_to_what_is_not_there_is_left_behind(store: Store, tmp_path: Path) -> None:
    store.refs.move("nowhere", Target(RUN, bytes(16)))
    assert export_bundle(tmp_path / "x.tar", store=store).refs == ()
