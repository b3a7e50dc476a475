"""A transfer that is killed, or has no room, at any operation: nothing is half visible."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasklineage.key.digest import digest
from tasklineage.query.transfers import export_bundle, import_bundle, push
from tasklineage.storage.records import Code, Ref
from tasklineage.storage.store import Store
from tests.crash.killer import SHORT, Outcome, Say, Scenario, sweep
from tests.unit.storage.history import History, digest_of

pytestmark = pytest.mark.slow

CALLS = 4
VALUES = [b"a" * 20_000, "b" * 300_000, [b"c" * 30_000, b"d" * 40_000], 5]


def source_of(folder: Path) -> Path:
    """A store with a run of some calls; made once."""
    path = folder / "source"
    if not path.exists():
        made = folder / "making"
        history = History()
        run = history.run()
        with Store(_begun(made)) as store:
            code = Code(digest_of("pkg.train"), "pkg.train", (("function", "f", b"", "def f"),))
            store.append(code, run)
            for value in VALUES:
                ref = store.put(value, digest(value))
                store.append(*history.call(run, key=repr(value)[:9], output=ref))
            store.append(history.end_run(run))
        made.rename(path)
    return path


def _begun(path: Path) -> Path:
    from tasklineage.storage.format import open_folder

    open_folder(path)
    return path


def pushing(root: Path, say: Say) -> None:
    push(root / "there", store=Store(source_of(root.parent), read_only=True))
    say("pushed")


def pushing_durably(root: Path, say: Say) -> None:
    _begun(root / "there")
    there = Store(root / "there", durability="power")
    push(there, store=Store(source_of(root.parent), read_only=True))
    say("pushed")


def exporting(root: Path, say: Say) -> None:
    export_bundle(root / "x.tar", store=Store(source_of(root.parent), read_only=True))
    say("exported")


def importing(root: Path, say: Say) -> None:
    bundle = root.parent / "x.tar"
    if not bundle.exists():
        export_bundle(bundle, store=Store(source_of(root.parent), read_only=True))
    import_bundle(bundle, store=root / "there")
    say("pushed")


def check_whole(store: Store) -> None:
    rows = store.catalog.find_calls()
    assert len(rows) == CALLS
    for row, value in zip(reversed(rows), VALUES, strict=True):
        assert store.get(Ref(*store.journal.read(row.location).output)) == value
    assert store.code(digest_of("pkg.train")) is not None


def check(outcome: Outcome, tmp_path: Path) -> None:
    """Nothing or everything is visible; the next push completes it, and the one after is empty."""
    path = outcome.root / "there"
    if (path / "format").exists():
        with Store(path) as store:
            visible = store.catalog.find_calls(), store.catalog.find_runs()
            assert visible == ([], []) or len(visible[0]) == CALLS
            if "pushed" in outcome.said or visible[0]:
                check_whole(store)
    source = Store(source_of(tmp_path), read_only=True)
    push(path, store=source)
    assert push(path, store=source).records == 0
    with Store(path) as store:
        check_whole(store)


@pytest.mark.parametrize("scenario", [pushing, pushing_durably, importing])
def test_killed_at_any_operation_all_or_nothing_is_visible(
    scenario: Scenario, tmp_path: Path
) -> None:
    outcomes = [one for one in sweep(scenario, tmp_path, every=2) if one.operation]
    assert len(outcomes) > 20
    for outcome in outcomes:
        check(outcome, tmp_path)


def failing(scenario: Scenario, folder: Path) -> Iterator[Outcome]:
    for outcome in sweep(scenario, folder, actions=(errno.ENOSPC, errno.EIO, SHORT), every=2):
        if outcome.operation:
            yield outcome


@pytest.mark.parametrize("scenario", [pushing, importing])
def test_where_there_is_no_room_all_or_nothing_is_visible(
    scenario: Scenario, tmp_path: Path
) -> None:
    count = 0
    for outcome in failing(scenario, tmp_path):
        assert outcome.status in ("finished", "StoreError"), outcome
        check(outcome, tmp_path)
        count += 1
    assert count > 20


def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    source_of(tmp_path)
    for outcome in failing(exporting, tmp_path):
        if "exported" in outcome.said:
            import_bundle(outcome.root / "x.tar", store=outcome.root / "there")
            check(outcome, tmp_path)
        else:
            assert outcome.status == "StoreError"
            assert not (outcome.root / "x.tar").exists()


def test_an_export_that_is_killed_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    for outcome in sweep(exporting, tmp_path):
        if outcome.operation and (outcome.root / "x.tar").exists():
            import_bundle(outcome.root / "x.tar", store=outcome.root / "there")
            check(outcome, tmp_path)
