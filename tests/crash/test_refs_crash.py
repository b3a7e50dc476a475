"""Kills and failures at every file operation of tagging: a ref is moved, or it is as it was."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.storage.backend import Folder
from tasklineage.storage.refs import DELETED, Refs, Target
from tasklineage.storage.store import Store
from tests.crash.killer import KILL, SHORT, Say, sweep

NAME = "model/prod"
STEPS = (Target("run", b"a" * 16), Target("run", b"b" * 16), Target(DELETED))

pytestmark = pytest.mark.slow


def moving(root: Path, say: Say) -> None:
    refs = Refs(Folder(root, durable=True))
    for target in STEPS:
        refs.move(NAME, target)
        say(target.kind + target.id.decode())


@pytest.mark.parametrize(
    "actions", [(KILL,), (SHORT,), (errno.ENOSPC, errno.EIO, errno.EACCES)], ids=str
)
def test_a_ref_is_moved_or_as_it_was(actions: tuple[int, ...], tmp_path: Path) -> None:
    count = 0
    for outcome in sweep(moving, tmp_path, actions=actions):
        count += 1
        refs = Refs(Folder(outcome.root))
        found = [version.kind + version.target.decode() for version in refs.history(NAME)]
        found.reverse()
        wanted = [step.kind + step.id.decode() for step in STEPS]
        assert found == wanted[: len(found)], outcome
        assert len(found) - len(outcome.said) in (0, 1), outcome
        assert outcome.said == wanted[: len(outcome.said)]
        again = refs.move(NAME, STEPS[0])
        assert again.number == len(found) + 1
        assert refs.find(NAME) == again
    assert count > 10


@task
def table(n: int) -> Any:
    return np.arange(n)


def tagging(root: Path, say: Say) -> None:
    with tl.run("job", store=root / "store") as run:
        made = table(5_000)
        tl.tag(made, "value", store=run.store)
        say("value")
        tl.tag(run["table"], "call")
        say("call")


def test_whatever_a_ref_points_to_is_there(tmp_path: Path) -> None:
    tagged = 0
    for outcome in sweep(tagging, tmp_path, timeout=900):
        if not (outcome.root / "store" / "format").exists():
            assert not outcome.said
            continue
        store = Store(outcome.root / "store")
        found = tl.refs(store=store)
        assert all(len(ref.value) == 5_000 for ref in found), outcome
        assert all(name in found for name in outcome.said), outcome
        assert len(found) - len(outcome.said) in (0, 1), outcome
        tagged += len(found)
        store.close()
    assert tagged > 15
