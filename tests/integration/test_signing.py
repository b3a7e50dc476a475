"""Signed stores: what nobody with the key has written there never answers."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import CorruptObject
from tasklineage.storage import frames
from tasklineage.storage.fsck import check
from tasklineage.storage.journal import UNSIGNED, Damage
from tasklineage.storage.ref_names import version_key
from tasklineage.storage.store import Store
from tasklineage.storage.trust import own_folder

KEY = b" ".join((b"a", b"key", b"of", b"any", b"length"))
LARGE = 600_000
executed: list[Any] = []
decoded: list[str] = []


class Bomb:
    """A value that notes when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return decoded.append, ("decoded",)


@task
def f(n: int) -> int:
    executed.append(n)
    return n + 1


@task
def large(n: int) -> bytes:
    executed.append(n)
    return bytes([n]) * LARGE


@task
def medium(n: int) -> bytes:
    executed.append(n)
    return bytes([n]) * 200_000


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    executed.clear()
    decoded.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


def opened(path: Path, key: bytes | str | None = KEY, **options: Any) -> Store:
    """A store as another process would open it."""
    from tasklineage.storage.opening import open_stores

    open_stores._open.clear()
    return tl.open_store(path, signing_key=key, **options)


def record(store: Store, *calls: Callable[[], Any]) -> None:
    with tl.run(store=store):
        for call in calls:
            call()
    store.close()


def segments(path: Path) -> list[Path]:
    return sorted(one for one in (path / "journal").glob("*/*") if one.is_file())


def objects(path: Path) -> list[Path]:
    found = (path / "objects").glob("??/*")
    return sorted(one for one in found if one.stat().st_size >= 200_000)


def test_what_is_signed_answers(path: Path) -> None:
    for key in (KEY, KEY.decode(), KEY):
        record(opened(path, key), lambda: f(1), lambda: medium(2), lambda: large(3))
    assert executed == [1, 2, 3]
    assert sum(len(_signed(one)) for one in segments(path)) > 10


def test_the_key_may_come_from_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(opened(path), lambda: f(1))
    monkeypatch.setenv("TASKLINEAGE_SIGNING_KEY", KEY.decode())
    record(opened(path, None), lambda: f(1))
    assert executed == [1]
    assert [call.task.rpartition(".")[2] for call in tl.calls(store=path)] == ["f", "f"]


def test_another_key_is_an_error(path: Path) -> None:
    record(opened(path), lambda: f(1))
    with pytest.raises(tl.StoreError, match="signed with another key"):
        opened(path, b"another")
    with pytest.raises(tl.ConfigError, match="not empty"):
        opened(path, b"")


@pytest.mark.filterwarnings("ignore:the store at")
def test_unsigned_records_do_not_answer_and_are_named(path: Path) -> None:
    record(opened(path), lambda: f(1))
    record(opened(path, None), lambda: f(2))
    store = opened(path)
    with pytest.warns(UserWarning, match="not signed with the key of the store"):
        record(store, lambda: f(1), lambda: f(2))
    assert executed == [1, 2, 2]
    store = opened(path)
    found: list[Damage] = []
    list(store.journal.scan({}, on_damage=found.append))
    assert {one.reason for one in found} == {UNSIGNED}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(tl.runs(store=store)) == 2
        assert len(list(tl.calls(store=store))) == 3


@pytest.mark.filterwarnings("ignore:the store at", "ignore:.*not signed with the key")
def test_a_catalog_made_without_the_key_tells_nothing(path: Path) -> None:
    record(opened(path), lambda: f(1))
    forger = opened(path, None)
    record(forger, lambda: f(2))
    assert len(tl.runs(store=forger)) == 2
    forger.catalog.save()
    forger.close()
    assert (path / "catalog.sqlite").exists()
    store = opened(path)
    assert len(tl.runs(store=store)) == 1
    assert {call.id for call in tl.calls(store=store)} == {tl.calls(store=store)[0].id}
    record(store, lambda: f(2))
    assert executed == [1, 2, 2]


@pytest.mark.filterwarnings("ignore:the store at", "ignore:.*not signed with the key")
def test_a_ref_set_without_the_key_leads_nowhere(path: Path) -> None:
    store = opened(path)
    record(store, lambda: f(1))
    tl.tag(tl.calls(store=store)[0].output, "model/prod", store=store)
    assert tl.load("model/prod", store=opened(path)) == 2
    forger = opened(path, None)
    assert tl.load("model/prod", store=forger) == 2
    record(forger, lambda: f(5))
    tl.tag(tl.calls(store=forger)[0].output, "model/prod", store=forger)
    assert tl.load("model/prod", store=forger) == 6
    with pytest.raises(CorruptObject, match="not signed with the key"):
        tl.load("model/prod", store=opened(path))
    first, second = (path / version_key("model/prod", number) for number in (1, 2))
    shutil.copy(first, second)
    with pytest.raises(CorruptObject, match="a copy"):
        tl.load("model/prod", store=opened(path))


@pytest.mark.filterwarnings("ignore:the store at", "ignore:.*not signed with the key")
def test_a_result_stored_without_the_key_is_refused_before_it_is_decoded(path: Path) -> None:
    @task
    def make() -> Any:
        executed.append("make")
        return Bomb()

    record(opened(path), lambda: f(1))
    record(opened(path, None), make)
    decoded.clear()
    record(opened(path), make)
    assert executed == [1, "make", "make"]
    assert decoded == []


@pytest.mark.parametrize("made", [medium, large])
@pytest.mark.filterwarnings("ignore:the store at", "ignore:.*not signed with the key")
def test_an_object_without_the_signature_is_refused_and_stored_anew(
    path: Path, tmp_path: Path, made: Any
) -> None:
    record(opened(path), lambda: made(1))
    (signed,) = objects(path)
    other = tmp_path / "other"
    record(opened(other, None), lambda: made(1))
    (unsigned,) = objects(other)
    assert unsigned.name == signed.name, "a signature is no part of the content"
    assert unsigned.read_bytes() != signed.read_bytes()
    for content in (unsigned.read_bytes(), _altered_mac(signed.read_bytes())):
        executed.clear()
        signed.write_bytes(content)
        store = opened(path)
        artifact = tl.calls(store=store)[0].output
        with pytest.raises(CorruptObject, match=r"not signed with the key|not what was written"):
            _ = artifact.value
        record(opened(path), lambda: made(1))
        assert executed == [1]
        executed.clear()
        record(opened(path), lambda: made(1))
        assert executed == []


def test_altered_records_do_not_answer(path: Path) -> None:
    record(opened(path), lambda: f(1))
    (segment,) = segments(path)
    data = bytearray(segment.read_bytes())
    writer, seq = segment.parent.name, int(segment.name)
    place = frames.place(writer, seq)
    changed = 0
    for offset, length, kind, payload in _frames(path):
        if kind == 5:
            forged = frames.encode(kind, payload.replace(b"\x02", b"\x03"), place, offset)
            content = forged[frames.HEAD :] + data[offset + length - frames.MAC : offset + length]
            data[offset : offset + length] = _framed(kind, content, place, offset)
            changed += 1
    assert changed == 1
    segment.write_bytes(data)
    with pytest.warns(UserWarning, match="not signed"):
        record(opened(path), lambda: f(1))
    assert executed == [1, 1]


@pytest.mark.parametrize("to", ["another segment", "another store"])
def test_a_record_counts_only_where_it_was_written(path: Path, tmp_path: Path, to: str) -> None:
    """A whole segment, moved: each checksum is made to fit, as anybody can."""
    record(opened(path), lambda: f(1))
    target = path if to == "another segment" else tmp_path / "target"
    if target != path:
        record(opened(target), lambda: f(7))
    (source,) = segments(path)
    writer, seq = ("0123456789abcdef", 3) if target == path else (source.parent.name, 1)
    moved = b""
    for offset, kind, content, flags in _raw(source):
        fields = len(content) | kind << 32 | flags << 40
        where = frames.place(writer, seq)
        moved += frames._pack(
            frames.MAGIC, fields, frames.xxh3_64_intdigest(content, fields ^ where ^ offset)
        )
        moved += content
    if target == path:
        shutil.rmtree(source.parent)
    place = target / "journal" / writer / f"{seq:08d}"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(moved)
    executed.clear()
    with pytest.warns(UserWarning, match="not signed"):
        record(opened(target), lambda: f(1))
    assert executed == [1]


def test_a_store_opened_without_its_key_says_so_and_reads(path: Path) -> None:
    record(opened(path), lambda: f(1), lambda: large(2))
    with pytest.warns(UserWarning, match="is signed, and opened without signing_key="):
        store = opened(path, None)
    record(store, lambda: f(1), lambda: large(2))
    assert executed == [1, 2]
    assert tl.calls(store=store, task="large")[-1].result == bytes([2]) * LARGE


def test_a_store_of_before_can_be_signed_from_now_on(path: Path) -> None:
    record(opened(path, None), lambda: f(1), lambda: large(2))
    with pytest.warns(UserWarning, match="not signed"):
        record(opened(path), lambda: f(1), lambda: large(2))
    assert executed == [1, 2, 1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record(opened(path), lambda: f(1), lambda: large(2))
    assert executed == [1, 2, 1, 2]


def test_what_can_be_made_again_is_in_a_folder_of_the_users_own(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    record(store, lambda: large(1))
    list(tl.runs(store=store))
    store.catalog.save()
    assert not {"catalog.sqlite", "verified", "hashes", "secret.key"} & set(os.listdir(path))
    (own,) = (tmp_path / "cache/tasklineage/stores").iterdir()
    assert (own / "catalog.sqlite").exists()
    assert own.stat().st_mode & 0o777 == 0o700
    os.chmod(own, 0o777)
    assert own_folder(store.path, store.signer.store) is None  # type: ignore[union-attr]


def test_without_a_home_it_works_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    for _ in range(2):
        store = opened(path)
        record(store, lambda: large(1))
        assert len(tl.runs(store=store)) > 0
    assert executed == [1]
    assert "catalog.sqlite" not in os.listdir(path)


def test_the_key_is_in_no_file_and_no_pickle(path: Path, tmp_path: Path) -> None:
    store = opened(path)
    record(store, lambda: f(1), lambda: large(2))
    list(tl.runs(store=store))
    for one in (store, store.objects, tl.calls(store=store)[0].output):
        assert KEY not in pickle.dumps(one)
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY not in file.read_bytes()
    with pytest.raises(tl.StoreError, match="set TASKLINEAGE_SIGNING_KEY"):
        pickle.loads(pickle.dumps(store))
    assert KEY.decode() not in repr(store) + str(vars(store.journal))


def test_another_process_takes_the_key_from_its_environment(path: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, tasklineage as tl\n"
        "@tl.task\n"
        "def f(n):\n"
        "    return n\n"
        "with tl.run(store=sys.argv[1]) as run:\n"
        "    f(1)\n"
        "print(run.executed, run.hits)\n"
    )
    environment = {**os.environ, "TASKLINEAGE_SIGNING_KEY": KEY.decode()}
    command = [sys.executable, str(script), str(path)]
    found = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        for _ in range(2)
    ]
    assert found == ["1 0\n", "0 1\n"]


def test_a_run_with_another_durability_has_the_key_too(path: Path) -> None:
    with tl.run(store=opened(path)), tl.run(durability="power"):
        f(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record(opened(path), lambda: f(1))
    assert executed == [1]


@pytest.mark.filterwarnings("ignore:the store at")
def test_what_is_pushed_is_signed_by_the_store_that_takes_it(path: Path, tmp_path: Path) -> None:
    record(opened(path), lambda: f(1), lambda: medium(2), lambda: large(3))
    places = [
        (tmp_path / "plain", None),
        (tmp_path / "signed", b"another"),
        (tmp_path / "own", KEY),
    ]
    for place, key in places:
        target = opened(place, key)
        tl.push(target, store=opened(path))
        target.close()
        executed.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            record(opened(place, key), lambda: f(1), lambda: medium(2), lambda: large(3))
        assert executed == []


def test_what_is_not_signed_is_not_pushed(path: Path, tmp_path: Path) -> None:
    record(opened(path), lambda: medium(2))
    (signed,) = objects(path)
    content = signed.read_bytes()
    signed.write_bytes(content[:16] + bytes(32) + content[48:])
    target = opened(tmp_path / "target")
    with pytest.raises(tl.TasklineageError):
        tl.push(target, store=opened(path))
    assert objects(tmp_path / "target") == []


def test_a_signed_store_is_sound(path: Path) -> None:
    record(opened(path), lambda: f(1), lambda: medium(2), lambda: large(3))
    tl.tag(tl.calls(store=opened(path))[0].output, "x", store=opened(path))
    assert check(path, read_data=1.0).findings == ()
    with objects(path)[0].open("r+b") as file:
        file.seek(20)
        file.write(b"damage")
    assert check(path, read_data=1.0).findings != ()


def test_secrets_that_count_need_no_file(path: Path) -> None:
    @task
    def use(token: tl.Secret[str]) -> int:
        executed.append(token.value)
        return 1

    for _ in range(2):
        record(opened(path), lambda: use(tl.Secret("a-long-token", counts=True)))
    assert executed == ["a-long-token"]
    assert not (path / "secret.key").exists()


def _frames(path: Path) -> list[tuple[int, int, int, bytes]]:
    (segment, *_) = segments(path)
    place = frames.place(segment.parent.name, int(segment.name))
    return frames.walk(segment.read_bytes(), place, 0)[0]


def _signed(segment: Path) -> list[int]:
    """Offsets of the frames that are signed; all but the head are."""
    found = _raw(segment)
    assert all(flags == frames.SIGNED for _, _, _, flags in found[1:])
    return [offset for offset, *_ in found[1:]]


def _raw(segment: Path) -> list[tuple[int, int, bytes, int]]:
    """Offset, kind, content with the MAC, and version with flags of each frame."""
    data, start, found = segment.read_bytes(), 0, []
    while start < len(data):
        _, fields, _ = frames._unpack(data, start)
        end = start + frames.HEAD + (fields & 0xFFFFFFFF)
        found.append((start, fields >> 32 & 0xFF, data[start + frames.HEAD : end], fields >> 40))
        start = end
    return found


def _framed(kind: int, content: bytes, place: int, offset: int) -> bytes:
    """A signed frame with whatever content, its checksum as it should be."""
    fields = len(content) | kind << 32 | frames.SIGNED << 40
    checksum = frames.xxh3_64_intdigest(content, fields ^ place ^ offset)
    return frames._pack(frames.MAGIC, fields, checksum) + content


def _altered_mac(content: bytes) -> bytes:
    return content[:20] + bytes([content[20] ^ 1]) + content[21:]


def test_workers_have_the_key_that_was_given_in_code(path: Path, tmp_path: Path) -> None:
    """It is in no argument and no variable of theirs, and in no file."""
    (tmp_path / "script.py").write_text(
        "import sys, tasklineage as tl\n"
        "@tl.task\n"
        "def f(n):\n"
        "    names = '/proc/self/cmdline', '/proc/self/environ'\n"
        "    return [open(name, 'rb').read() for name in names], 'x' * 50_000\n"
        "key = sys.stdin.read()\n"
        "store = tl.open_store('store', signing_key=key)\n"
        "with tl.run(store=store, executor='processes:2') as run:\n"
        "    seen = [one for told, _ in tl.map(f, range(4)) for one in told]\n"
        "print(run.executed, run.hits, any(key.encode() in one for one in seen))\n"
    )
    found = [
        subprocess.run(
            [sys.executable, "script.py"], input=KEY.decode(), cwd=tmp_path,
            capture_output=True, text=True, check=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert found == ["4 0 False\n", "0 4 False\n"]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY not in file.read_bytes()


def kinds(path: Path, key: bytes | None = KEY, **options: Any) -> set[str]:
    """The kinds of damage that a check finds."""
    return {one.kind for one in check(path, signing_key=key, **options).damage}


def test_a_check_with_the_key_finds_a_signed_store_sound(path: Path) -> None:
    record(opened(path), lambda: f(1), lambda: medium(2), lambda: large(3))
    tl.tag(tl.calls(store=opened(path))[0].output, "x", store=opened(path))
    report = check(path, read_data=1.0, decode=True, signing_key=KEY)
    assert report.findings == ()
    assert report.counts["values"] >= 3
    with pytest.raises(tl.StoreError, match="another key"):
        check(path, signing_key="some other key")


@pytest.mark.filterwarnings("ignore:the store at", "ignore:.*not signed with the key")
def test_a_check_with_the_key_names_what_is_not_signed_and_moves_it_away(path: Path) -> None:
    record(opened(path), lambda: f(1), lambda: medium(2))
    store = opened(path)
    tl.tag(tl.calls(store=store)[0].output, "name", store=store)
    forger = opened(path, None)
    record(forger, lambda: f(5), lambda: medium(6))
    tl.tag(tl.calls(store=forger)[0].output, "name", store=forger)
    assert kinds(path, None) == set(), "without the key it is a store as any other"
    assert kinds(path) == {"record-unsigned", "object-unsigned", "ref-unsigned"}
    report = check(path, repair=True, signing_key=KEY)
    assert report.is_healthy
    assert kinds(path) == set()
    executed.clear()
    record(opened(path), lambda: f(1), lambda: medium(2), lambda: f(5))
    assert executed == [5]


def test_a_forged_signature_of_an_object_is_found_where_its_bytes_are_read(path: Path) -> None:
    record(opened(path), lambda: medium(2))
    (file,) = objects(path)
    file.write_bytes(_altered_mac(file.read_bytes()))
    assert kinds(path, read_data=1.0) in ({"object-unsigned"}, {"object-damaged"})


def test_what_a_repair_writes_anew_is_signed(path: Path) -> None:
    record(opened(path), *[lambda n=n: f(n) for n in range(5)])
    (segment,) = segments(path)
    data = bytearray(segment.read_bytes())
    data[_frames(path)[-1][0] + 30] ^= 1
    segment.write_bytes(data)
    report = check(path, repair=True)
    assert not report.is_healthy
    assert any("give the key" in finding.text for finding in report.findings)
    assert check(path, repair=True, signing_key=KEY).is_healthy
    executed.clear()
    record(opened(path), *[lambda n=n: f(n) for n in range(5)])
    assert executed == []
    assert kinds(path) == set()
