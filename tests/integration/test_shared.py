"""Modes: a store is its owner's alone, or its group's, whatever the umask."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task

GROUP, ANN, BOB, EVE = 54_321, 54_001, 54_002, 54_003
SCRIPT = """
import os, sys, warnings
store, user, *flags = sys.argv[1:]
if user != "0":
    os.setgroups([54321] if user != "54003" else [])
    os.setgid(54000 + int(user) % 1000)
    os.setuid(int(user))
os.umask(0o077)
warnings.simplefilter("error")
import tasklineage as tl
@tl.task
def f(n):
    return bytes([n]) * 300_000
@tl.task
def file(name):
    with open(os.path.join(os.environ["TMPDIR"], name + user), "w") as out:
        out.write("x" * 50_000)
    return tl.File(out.name)
shared = "group" if "shared" in flags else None
with tl.run(store=tl.open_store(store, shared=shared)) as run:
    f(1)
    f(int(user) % 100 + 1)
    file("out")
    f.forget(7)
    print(run.executed, run.hits)
found = tl.open_store(store)
found.catalog.save()
print(len(tl.runs(store=found)), len(list(tl.calls(store=found))))
found.objects.open
found.secret_key
"""


@task
def large(n: int) -> bytes:
    return bytes([n]) * 300_000


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def modes(root: Path) -> dict[str, set[int]]:
    """The modes of all folders and files of a store."""
    found: dict[str, set[int]] = {"folders": set(), "files": set()}
    for place in (root, *root.rglob("*")):
        status = os.lstat(place)
        kind = "folders" if stat.S_ISDIR(status.st_mode) else "files"
        found[kind].add(stat.S_IMODE(status.st_mode))
    return found


def fill(store: tl.Store) -> None:
    with tl.run(store=store):
        large(1)
    store.catalog.save()
    assert store.secret_key
    list(tl.runs(store=store))
    store.close()


def test_a_store_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        fill(tl.open_store(tmp_path / "store"))
    finally:
        os.umask(before)
    assert modes(tmp_path / "store") == {"folders": {0o700}, "files": {0o600}}


def test_a_shared_one_is_its_groups_whatever_the_umask(tmp_path: Path, umask: None) -> None:
    fill(tl.open_store(tmp_path / "store", shared="group"))
    assert modes(tmp_path / "store") == {"folders": {0o2770}, "files": {0o660}}
    fill(tl.open_store(tmp_path / "store"))
    assert modes(tmp_path / "store") == {"folders": {0o2770}, "files": {0o660}}


def test_a_folder_that_is_there_is_shared(tmp_path: Path, umask: None) -> None:
    (tmp_path / "store").mkdir()
    fill(tl.open_store(tmp_path / "store", shared="group"))
    assert modes(tmp_path / "store") == {"folders": {0o2770}, "files": {0o660}}


def test_a_store_that_is_there_is_not_shared_by_the_way(tmp_path: Path) -> None:
    fill(tl.open_store(tmp_path / "store"))
    with pytest.raises(tl.StoreError, match=r"not shared with its group: its mode is 700.*chmod"):
        tl.open_store(tmp_path / "store", shared="group")
    with pytest.raises(tl.ConfigError, match="None or 'group'"):
        tl.open_store(tmp_path / "other", shared="world")
    assert modes(tmp_path / "store") == {"folders": {0o700}, "files": {0o600}}


def test_several_that_make_a_shared_one_at_once(tmp_path: Path, umask: None) -> None:
    for n in range(5):
        root = tmp_path / f"store{n}"
        with multiprocessing.get_context("fork").Pool(4) as pool:
            pool.starmap(_open_shared, [(str(root),)] * 8)
        assert modes(root) == {"folders": {0o2770}, "files": {0o660}}
        assert not [one for one in os.listdir(tmp_path) if one.startswith(".")]


def _open_shared(root: str) -> None:
    tl.open_store(root, shared="group")


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that several users reach."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be several users")
    with tempfile.TemporaryDirectory(prefix="tasklineage-shared-") as name:
        folder = Path(name)
        os.chown(folder, ANN, GROUP)
        os.chmod(folder, 0o2775)
        (folder / "tmp").mkdir()
        os.chmod(folder / "tmp", 0o1777)
        (folder / "script.py").write_text(SCRIPT)
        os.chmod(folder / "script.py", 0o644)
        yield folder


def interpreter() -> str:
    """A Python of this version that other users may execute."""
    for found in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        place = Path(found).resolve()
        if place.exists() and all(one.stat().st_mode & 0o001 for one in (place, *place.parents)):
            return found
    pytest.skip("no interpreter that other users may execute")


def act(folder: Path, user: int, *flags: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder / "tmp"), "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": f"{Path(tl.__file__).parents[1]}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    return subprocess.run(
        [interpreter(), str(folder / "script.py"), str(folder / "store"), str(user), *flags],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        check=False,
    )


def test_another_member_of_the_group_reads_and_writes(common: Path) -> None:
    first = act(common, ANN, "shared")
    assert first.stdout.split("\n")[0] == "3 0", first.stderr
    second = act(common, BOB)
    assert second.returncode == 0, second.stderr
    assert second.stdout.split("\n")[0] == "2 1", second.stderr
    again = act(common, ANN)
    assert again.stdout.split("\n")[0] == "0 3", again.stderr
    assert modes(common / "store") == {"folders": {0o2770}, "files": {0o660}}
    assert {os.lstat(one).st_gid for one in (common / "store").rglob("*")} == {GROUP}
    stranger = act(common, EVE)
    assert stranger.returncode != 0
    assert "StoreError" in stranger.stderr
