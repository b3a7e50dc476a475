"""kill -9 at every step of condemning and sweeping: nothing that is needed is ever lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage.key.digest import digest
from tasklineage.storage import fsck, gc
from tasklineage.storage.gc import Rules
from tasklineage.storage.ground import ground_of
from tasklineage.storage.store import Store
from tests.crash import killer
from tests.unit.storage.history import History

pytestmark = pytest.mark.slow

RULES = Rules(tags=("keep",))
VALUES = [bytes([n]) * 20_000 for n in range(4)]


def collected(root: Path, say: killer.Say) -> None:
    """Two runs, of which one is not kept but has computed what the other was answered with."""
    store, history = Store(root), History()
    old, new = history.run("old"), history.run("new", tags=("keep",))
    store.append(old)
    refs = [store.put(value, digest(value)) for value in VALUES]
    calls = [history.call(old, key=n, output=ref) for n, ref in enumerate(refs[:3])]
    for call in calls:
        store.append(*call)
    store.append(history.end_run(old), new, history.hit(new, calls[0][1]))
    store.append(*history.call(new, key=3, output=refs[3]), history.end_run(new))
    say("made")
    planned = gc.plan(store, RULES)
    gc.condemn(store, planned, RULES)
    say("condemned")
    done = gc.sweep(store, grace=0)
    assert done is not None
    assert done.objects == 2
    say("swept")


def check(root: Path) -> None:
    """What is kept is there; and what is not goes at the next attempt."""
    store = Store(root)
    assert _results(store, "new") == [VALUES[0], VALUES[3]]
    # The scenario writes no format file and no code.
    allowed = {"format-missing", "code-missing"}
    assert {one.kind for one in fsck.check(root).damage} <= allowed
    if tl.runs("old", store=store, namespace="*"):  # it was not taken out yet
        assert _results(store, "old") == VALUES[:3]
    gc.condemn(store, gc.plan(store, RULES), RULES)
    gc.sweep(store, grace=0)
    assert _results(store, "new") == [VALUES[0], VALUES[3]]
    assert len(list(ground_of(store).sizes())) == 2
    assert [run.name for run in tl.runs(store=store, namespace="*")] == ["new"]
    assert not any((root / "gc" / "condemned").iterdir())
    store.close()


def _results(store: Store, name: str) -> list[bytes]:
    (run,) = tl.runs(name, store=store, namespace="*")
    return [call.result for call in run.calls]


def test_killed_anywhere(tmp_path: Path) -> None:
    seen = set()
    for outcome in killer.sweep(collected, tmp_path, every=2):
        assert outcome.status in ("killed", "finished"), outcome
        if "made" in outcome.said:
            seen.add((outcome.operation, tuple(outcome.said)))
            check(outcome.root)
    assert ("unlink", ("made", "condemned")) in seen
    assert ("pwrite", ("made", "condemned")) in seen


SMALL = [b"small %d" % n for n in range(4)]


def packed(root: Path, say: killer.Say) -> None:
    """Runs of three processes that are over; one goes, and the others' segments become one."""
    history = History()
    runs = [history.run(name) for name in ("old", "new", "third")]
    old = []
    for n, run in enumerate(runs):
        store = Store(root)
        store.append(run)
        ref = store.put(SMALL[n], digest(SMALL[n]))
        calls = history.call(run, key=n, output=ref)
        old += calls[1:]
        store.append(*calls, *([history.hit(run, old[0])] if n == 1 else []), history.end_run(run))
        store.append(*history.call(run, key=10 + n, output=store.put(n, digest(n))))
        store.close()
    say("made")
    store = Store(root)
    gc.take_out(store, [runs[0].id], "rm")
    gc.condemn(store, gc.plan(store))
    say("condemned")
    done = gc.sweep(store, grace=0)
    assert done is not None
    assert done.packed > 0
    say("packed")


def check_packed(root: Path) -> None:
    """Whatever stays is there, each thing once; and the next one goes on to the end."""
    store = Store(root)
    expected = {"new": [SMALL[1], SMALL[0], 1], "third": [SMALL[2], 2]}
    assert {name: _results(store, name) for name in expected} == expected
    allowed = {"format-missing", "code-missing"}
    assert {one.kind for one in fsck.check(root).damage} <= allowed
    live = _rows(store)
    store.catalog.discard()
    assert _rows(store) == live
    removed = gc.plan(store)
    if tl.runs("old", store=store, namespace="*"):
        gc.take_out(
            store, [run.id for run in gc.read_graph(root).kept() if run.name == "old"], "rm"
        )
        removed = gc.plan(store)
    gc.condemn(store, removed)
    gc.sweep(store, grace=0)
    assert {name: _results(store, name) for name in expected} == expected
    journal = b"".join(
        path.read_bytes() for path in (root / "journal").rglob("*") if path.is_file()
    )
    assert SMALL[0] in journal, "it has answered a call of a run that stays"
    assert journal.count(SMALL[1]) == 2, "value and preview; a pack half made is gone"
    assert not (root / "journal" / "packing").exists()
    store.close()


def _rows(store: Store) -> list[object]:
    """What the catalog says, but for where records stand."""
    calls = store.catalog.find_calls()
    runs = store.catalog.find_runs(removed=True)
    return [
        *(call._replace(location=None) for call in calls),  # type: ignore[arg-type]
        *(run._replace(location=None, end=None) for run in runs),  # type: ignore[arg-type]
    ]


def test_killed_anywhere_while_it_packs(tmp_path: Path) -> None:
    seen = set()
    for outcome in killer.sweep(packed, tmp_path):
        assert outcome.status in ("killed", "finished"), outcome
        if "condemned" in outcome.said:
            seen.add((outcome.operation, tuple(outcome.said)))
            check_packed(outcome.root)
    for operation in ("rename", "pwrite", "unlink", "rmdir", "replace"):
        assert (operation, ("made", "condemned")) in seen
