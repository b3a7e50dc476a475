"""What fsck finds, what it does not find, and what it does about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import tasklineage as tl
from tasklineage.cli.main import main
from tasklineage.storage.fsck import KINDS, Report, check
from tests.integration import damages
from tests.integration.damages import DAMAGES, Damage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store."""
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKLINEAGE_STORE", str(folder / "store"))
        damages.make(folder / "store")
    return folder / "store"


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "store", copy_function=shutil.copy2))


def all_of(root: Path, **options: Any) -> Report:
    return check(root, read_data=1.0, decode=True, **options)


def test_a_sound_store_is_found_sound(root: Path) -> None:
    report = all_of(root)
    assert [finding.kind for finding in report.findings] == []
    assert report.is_healthy
    assert report.counts["records"] > 100
    assert report.counts["objects"] > 5
    assert report.counts["values"] > 40


def test_a_check_writes_nothing(root: Path) -> None:
    def state() -> dict[str, tuple[int, int, int]]:
        found = {str(path): path.stat() for path in sorted(root.rglob("*"))}
        return {name: (s.st_mode, s.st_size, s.st_mtime_ns) for name, s in found.items()}

    before = state()
    all_of(root)
    assert state() == before


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.make.__name__)
def test_every_damage_is_found_and_named(root: Path, damage: Damage) -> None:
    damage.make(root)
    report = check(root, **damage.options)
    found = [finding for finding in report.findings if finding.kind == damage.kind]
    assert found, report.findings
    assert report.is_healthy != damage.is_damage
    if damage.names_runs:
        assert any(finding.runs for finding in found)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.make.__name__)
def test_what_was_repaired_is_sound_and_nothing_is_deleted(root: Path, damage: Damage) -> None:
    damage.make(root)
    kept = {path.read_bytes() for path in root.rglob("*") if path.is_file() and not _is_odd(path)}
    report = all_of(root, repair=True)
    assert report.is_healthy, [finding for finding in report.damage if not finding.repaired]
    again = all_of(root)
    assert again.is_healthy, again.damage
    left = {path.read_bytes() for path in root.rglob("*") if path.is_file() and not _is_odd(path)}
    assert kept <= left


def _is_odd(path: Path) -> bool:
    return path.is_fifo() or path.is_symlink() or path.stat().st_size > 1 << 26


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.make.__name__)
def test_what_was_repaired_heals_by_being_used(
    root: Path, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage.make(root)
    all_of(root, repair=True)
    monkeypatch.setenv("TASKLINEAGE_STORE", str(root))
    damages.make(root)
    store = tl.open_store(root)
    with tl.run("third", store=store) as run:
        assert damages.parts(5_000)["n"] == 5_001
        assert list(tl.map(damages.small, range(30))) == list(range(1, 31))
    assert run.executed == 0
    store.close()
    assert all_of(root).is_healthy


def test_there_are_enough_kinds() -> None:
    damaging = {damage.kind for damage in DAMAGES if damage.is_damage}
    assert len(damaging) >= 25
    assert len({damage.kind for damage in DAMAGES}) >= 35
    assert {damage.kind for damage in DAMAGES} <= KINDS.keys()


def test_the_command_tells_what_it_has_found(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as fine:
        main(["fsck", "--store", str(root), "--read-data", "--json"])
    assert fine.value.code in (None, 0)
    answer = json.loads(capsys.readouterr().out)
    assert answer["version"] == 1
    assert answer["healthy"] is True
    assert answer["checked"]["bytes read"] == answer["checked"]["bytes"]
    damages.object_payload_flipped(root)
    with pytest.raises(SystemExit) as corrupt:
        main(["fsck", "--store", str(root), "--read-data=100%", "--json"])
    assert corrupt.value.code == 5
    answer = json.loads(capsys.readouterr().out)
    (finding,) = [one for one in answer["findings"] if one["damage"]]
    assert finding["kind"] == "object-damaged"
    assert len(finding["runs"]) == 2
    with pytest.raises(SystemExit) as repaired:
        main(["fsck", "--store", str(root), "--read-data", "--repair"])
    assert repaired.value.code in (None, 0)
    shown = capsys.readouterr()
    assert "object-damaged" in shown.out
    assert "moved to quarantine/" in shown.out
    assert "repaired" in shown.err


@pytest.mark.parametrize("share", ["x", "101%", "-1", ""])
def test_a_share_that_is_none_is_refused(root: Path, share: str) -> None:
    with pytest.raises(SystemExit) as usage:
        main(["fsck", "--store", str(root), f"--read-data={share}"])
    assert usage.value.code == 2


def test_a_share_of_the_objects_is_read(root: Path) -> None:
    everything = check(root, read_data=1.0).counts["bytes read"]
    assert check(root).counts.get("bytes read", 0) == 0
    some = [check(root, read_data=0.5).counts.get("bytes read", 0) for _ in range(8)]
    assert 0 < sum(some) < 8 * everything


def test_where_there_is_no_store_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as missing:
        main(["fsck", "--store", str(tmp_path / "nothing")])
    assert missing.value.code == 3
