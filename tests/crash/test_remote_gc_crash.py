"""kill -9 at every step of collecting a remote store: nothing that is needed is ever lost.

The mirror and the remote store, a folder here, are below one root: see `test_remote_crash`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage.key.digest import digest
from tasklineage.storage import erase, gc, remote
from tasklineage.storage.backend import Folder
from tasklineage.storage.gc import Rules
from tasklineage.storage.ground import ground_of
from tasklineage.storage.store import Store
from tests.crash.killer import Fault, Outcome, Say, run, sweep
from tests.crash.test_remote_crash import opened
from tests.unit.storage.history import History

pytestmark = pytest.mark.slow

RULES = Rules(tags=("keep",))
VALUES = [bytes([n]) * 20_000 for n in range(4)]


def collected(root: Path, say: Say) -> None:
    """Two runs, of which one is not kept but has computed what the other was answered with."""
    remote._TICK = 3600.0
    store, history = opened(root, "a"), History()
    old, new = history.run("old"), history.run("new", tags=("keep",))
    store.append(old)
    refs = [store.put(value, digest(value)) for value in VALUES]
    calls = [history.call(old, key=n, output=ref) for n, ref in enumerate(refs[:3])]
    for call in calls:
        store.append(*call)
    store.append(history.end_run(old), new, history.hit(new, calls[0][1]))
    store.append(*history.call(new, key=3, output=refs[3]), history.end_run(new))
    store.flush()
    say("made")
    gc.condemn(store, gc.plan(store, RULES), RULES)
    say("condemned")
    done = gc.sweep(store, grace=0)
    assert done is not None
    assert done.objects == 2
    say("swept")
    store.close()


def check(outcome: Outcome) -> None:
    """What is kept is there, for all; what is not goes at the next attempt on the same machine."""
    assert outcome.status in ("killed", "finished"), outcome
    if "made" not in outcome.said:
        shutil.rmtree(outcome.root)
        return
    assert _results(opened(outcome.root, "b"), "new") == [VALUES[0], VALUES[3]]
    store = opened(outcome.root, "a")
    gc.condemn(store, gc.plan(store, RULES), RULES)
    gc.sweep(store, grace=0)
    assert len(list(ground_of(store).sizes())) == 2, outcome
    store.close()
    other = opened(outcome.root, "c")
    assert _results(other, "new") == [VALUES[0], VALUES[3]]
    assert [run.name for run in tl.runs(store=other, namespace="*")] == ["new"]
    bucket = Folder(outcome.root / "bucket")
    assert not bucket.list("gc/condemned"), outcome
    assert not bucket.list("gc/busy"), outcome
    assert not [name for name in os.listdir(store.path / "spool") if name[0] != "."], outcome
    shutil.rmtree(outcome.root)


def _results(store: Store, name: str) -> list[bytes]:
    (run,) = tl.runs(name, store=store, namespace="*")
    return [call.result for call in run.calls]


@pytest.mark.parametrize("number", range(40, 130, 11))
def test_who_is_killed_at_it_loses_nothing(number: int, tmp_path: Path) -> None:
    check(run(collected, tmp_path / "x", Fault(number)))


@pytest.mark.nightly
def test_killed_anywhere(tmp_path: Path) -> None:
    count = 0
    for outcome in sweep(collected, tmp_path, timeout=1800.0):
        count += "condemned" in outcome.said
        check(outcome)
    assert count > 60


SMALL, LARGE = "small canary", "large canary" * 3000


def purged(root: Path, say: Say) -> None:
    """A value in a record and one in an object are erased, which another machine has as well."""
    remote._TICK = 3600.0
    store, history = opened(root, "a"), History()
    run = history.run("job")
    store.append(run)
    for n, value in enumerate((SMALL, LARGE, "kept" * 3000)):
        store.append(*history.call(run, key=n, output=store.put(value, digest(value))))
    store.append(history.end_run(run))
    store.flush()
    opened(root, "b").close()
    say("made")
    for value in (SMALL, LARGE):
        erase.erase(store, erase.erasure(store, digest(value)))
    say("purged")
    store.close()


def check_purged(outcome: Outcome) -> None:
    """Nothing else is lost, and the next attempt ends with nothing left of it anywhere."""
    assert outcome.status in ("killed", "finished"), outcome
    if "made" in outcome.said:
        store = opened(outcome.root, "a")
        for value in (SMALL, LARGE):
            erase.erase(store, erase.erasure(store, digest(value)))
        store.close()
        other = opened(outcome.root, "b")
        other.refresh()
        (run,) = tl.runs(store=other, namespace="*")
        assert len(run.calls) == 3, "no record is lost"
        assert run.calls[2].result == "kept" * 3000
        other.close()
        for path in outcome.root.rglob("[!.]*"):  # half a write is nowhere to be seen in a bucket
            assert not path.is_file() or b"canary" not in path.read_bytes(), (outcome, path)
    shutil.rmtree(outcome.root)


EACH = [pytest.param(n, marks=() if n % 13 == 0 else pytest.mark.nightly) for n in range(60, 180)]


@pytest.mark.parametrize("number", EACH)
def test_who_is_killed_while_erasing_loses_nothing_else(number: int, tmp_path: Path) -> None:
    check_purged(run(purged, tmp_path / "x", Fault(number)))
