"""Random histories beside a model that says what can be reached: that is there, and no more."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tasklineage.errors import ConfigError, StoreBusy
from tasklineage.key.digest import digest
from tasklineage.storage import gc
from tasklineage.storage.backend import Folder
from tasklineage.storage.gc import Rules
from tasklineage.storage.ground import ground_of
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import CallEnd, Edge, Ref, RunBegin
from tasklineage.storage.roots import Pins
from tasklineage.storage.store import Store
from tasklineage.storage.usage import KINDS, usage
from tests.unit.storage.history import History

pytestmark = pytest.mark.slow

VALUES: list[Any] = [
    b"a" * 20_000, b"b" * 20_000, [b"a" * 20_000, b"c" * 20_000], b"d" * 20_000, 5,
]  # fmt: skip
CHOICE = st.integers(0, 10_000)


@dataclass
class RunModel:
    """What is known of a run."""

    begin: RunBegin
    parent: bytes | None = None
    is_over: bool = False
    is_removed: bool = False
    tagged: bool = False
    calls: list[bytes] = field(default_factory=list)


@dataclass
class CallModel:
    """What is known of a call."""

    end: CallEnd | None
    value: int | None
    leads: list[bytes]
    parent: bytes | None


class GcMachine(RuleBasedStateMachine):
    """A store, and what must be kept in it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp()) / "store"
        open_store(self.root).close()
        self.store, self.history = Store(self.root), History()
        self.runs: dict[bytes, RunModel] = {}
        self.calls: dict[bytes, CallModel] = {}
        self.pins: set[tuple[str, bytes]] = set()
        self.refs: dict[int, Ref] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.root.parent)

    # What happens.

    @rule(name=st.sampled_from("xy"), tagged=st.booleans(), nested=st.none() | CHOICE)
    def begin_run(self, name: str, tagged: bool, nested: int | None) -> None:
        parent = self.chosen(self.runs, nested) if nested is not None and self.runs else None
        begin = self.history.run(name, tags=("keep",) if tagged else (), parent=parent)
        self.store.append(begin)
        self.runs[begin.id] = RunModel(begin, parent, tagged=tagged)

    @precondition(lambda self: self.runs)
    @rule(
        run=CHOICE, value=st.sampled_from(range(len(VALUES))), source=st.none() | CHOICE,
        parent=st.none() | CHOICE,
    )  # fmt: skip
    def call(self, run: int, value: int, source: int | None, parent: int | None) -> None:
        begin = self.runs[self.chosen(self.runs, run)]
        above = self.chosen(begin.calls, parent) if parent is not None and begin.calls else None
        made = [] if source is None or not self.calls else [self.chosen(self.calls, source)]
        self.refs[value] = self.store.put(VALUES[value], digest(VALUES[value]))
        begun, end = self.history.call(
            begin.begin,
            parent=above,
            output=self.refs[value],
            edges=tuple(Edge("x", id, "future") for id in made),
        )
        self.store.append(begun, end)
        begin.calls.append(end.id)
        self.calls[end.id] = CallModel(end, value, made, above)

    @precondition(lambda self: any(call.end for call in self.calls.values()))
    @rule(run=CHOICE, producer=CHOICE)
    def hit(self, run: int, producer: int) -> None:
        """As the engine: only of what is there."""
        end = self.calls[self.chosen([i for i, c in self.calls.items() if c.end], producer)].end
        assert end is not None
        assert end.output is not None
        if not self.store.has(Ref(*end.output)):
            return
        begin = self.runs[self.chosen(self.runs, run)]
        hit = self.history.hit(begin.begin, end)
        self.store.append(hit)
        begin.calls.append(hit.id)
        self.calls[hit.id] = CallModel(None, None, [end.id], None)

    @precondition(lambda self: self.runs)
    @rule(run=CHOICE)
    def end_run(self, run: int) -> None:
        model = self.runs[self.chosen(self.runs, run)]
        self.store.append(self.history.end_run(model.begin))
        model.is_over = True

    @precondition(lambda self: self.runs)
    @rule(run=CHOICE, added=st.booleans())
    def tag(self, run: int, added: bool) -> None:
        model = self.runs[self.chosen(self.runs, run)]
        names = (("keep",), ()) if added else ((), ("keep",))
        self.store.append(self.history.tag(model.begin, *names))
        model.tagged = added

    @precondition(lambda self: self.calls)
    @rule(kind=st.sampled_from(["run", "call"]), which=CHOICE, is_pinned=st.booleans())
    def pin(self, kind: str, which: int, is_pinned: bool) -> None:
        id = self.chosen(self.runs if kind == "run" else self.calls, which)
        if is_pinned:
            Pins(Folder(self.root)).add(kind, id)
            self.pins.add((kind, id))
        else:
            Pins(Folder(self.root)).remove(kind, id)
            self.pins.discard((kind, id))

    @precondition(lambda self: self.runs)
    @rule(run=CHOICE)
    def rm(self, run: int) -> None:
        id = self.chosen(self.runs, run)
        try:
            planned = gc.removal(self.store, [id])
        except (ConfigError, StoreBusy):
            return
        gc.take_out(self.store, (one.id for one in planned.runs), "rm")
        for one in planned.runs:
            self.runs[one.id].is_removed = True

    @rule(rules=st.sampled_from([Rules(), Rules(tags=("keep",)), Rules(last=1)]))
    def collect(self, rules: Rules) -> None:
        planned = gc.plan(self.store, rules)
        gc.condemn(self.store, planned, rules)
        swept = gc.sweep(self.store, grace=0)
        assert swept is not None
        assert swept.runs == [run.id for run in planned.runs], "the plan says exactly what goes"
        for id in swept.runs:
            model = self.runs[id]
            assert model.is_over
            assert rules != Rules()
            assert not (rules.tags and model.tagged)
            model.is_removed = True
        assert self.objects() == self.reachable()

    @rule()
    def condemn(self) -> None:
        gc.condemn(self.store, gc.plan(self.store, Rules(last=0)))

    @rule()
    def sweep_what_was_condemned(self) -> None:
        swept = gc.sweep(self.store, grace=0)
        for id in swept.runs if swept else ():
            self.runs[id].is_removed = True

    # What must be.

    @invariant()
    def everything_that_can_be_reached_is_there(self) -> None:
        assert self.reachable() <= self.objects()

    @rule(by=st.sampled_from(KINDS))
    def the_bytes_add_up(self, by: str) -> None:
        found = usage(self.store, by)
        own = sum(row.exclusive for row in found.rows)
        assert own + found.shared + found.unneeded + found.other == found.total
        assert min(found.shared, found.unneeded, found.other) >= 0

    def objects(self) -> set[bytes]:
        return {oid for oid, _ in ground_of(self.store).sizes()}

    def reachable(self) -> set[bytes]:
        """By the slowest way: nothing is added any more."""
        reached = {id for kind, id in self.pins if kind == "call"}
        pinned = {id for kind, id in self.pins if kind == "run"}
        for id, run in self.runs.items():
            if not run.is_removed or id in pinned:
                reached.update(run.calls)
        while True:
            more = {lead for id in reached for lead in self.calls[id].leads}
            more |= {id for id, call in self.calls.items() if call.parent in reached}
            if more <= reached:
                break
            reached |= more
        found: set[bytes] = set()
        for id in reached:
            value = self.calls[id].value
            if value is not None:
                found.update(self.oids(value))
        return found

    def oids(self, value: int) -> set[bytes]:
        from tasklineage.storage.codecs import named_ids

        return set(named_ids(self.refs[value]))

    @staticmethod
    def chosen(among: Any, number: int) -> Any:
        items = list(among)
        return items[number % len(items)]


TestGc = GcMachine.TestCase
TestGc.settings = settings(max_examples=30, stateful_step_count=30)
