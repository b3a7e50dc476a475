"""Laws of transfers, on random histories: see `History`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tasklineage.key.digest import digest
from tasklineage.query.transfers import Transfer, export_bundle, import_bundle, pull, push
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import Accept, Argument, CallEnd, Code, Edge, Forget, Ref, Versions
from tasklineage.storage.store import Store
from tests.unit.storage.history import History, digest_of

pytestmark = pytest.mark.slow

VALUES: list[Any] = [
    None, 5, "text", [1, 2], b"a" * 20_000, "b" * 50_000, b"c" * 300_000,
    [b"d" * 30_000, "e" * 30_000], {"k": b"c" * 300_000, "d": b"d" * 30_000},
    [bytes([i]) * 17_000 for i in range(4)],
]  # fmt: skip
"""Small and large ones, and some that share parts with others."""
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("call", "hit", "child", "run", "forget", "accept", "tag", "lost", "end")),
        st.integers(0, len(VALUES) - 1),
        st.integers(0, 30),
    ),
    max_size=25,
)


Steps = list[tuple[str, int, int]]


class Author:
    """Writes a history into a store, step by step."""

    def __init__(self, store: Store, seed: str, begins: int = 0) -> None:
        self.store = store
        self.history = History(seed)
        for _ in range(begins):
            self.history.now()
        self.runs: list[Any] = []
        self.calls: list[CallEnd] = []
        self._run()

    def write(self, steps: Iterable[tuple[str, int, int]]) -> None:
        for kind, value, choice in steps:
            getattr(self, f"_{kind}")(value, choice)

    def _run(self, value: int = 0, choice: int = 0) -> None:
        parent = self.runs[choice % len(self.runs)].id if self.runs and choice % 3 else None
        params = {"params": (("p", self._put(value)),)} if choice % 2 else {}
        begun = self.history.run(f"run {choice}", parent=parent)._replace(**params)
        self.runs.append(begun)
        self.store.append(begun)

    def _call(self, value: int, choice: int, parent: bytes | None = None) -> None:
        task = f"pkg.task{choice % 3}"
        run = self.runs[choice % len(self.runs)]
        edges = ()
        if self.calls and choice % 2:
            maker = self.calls[choice % len(self.calls)]
            edges = (Edge("x", maker.id, "future", (maker.output or (b"",))[0]),)
        begun = self.history.begin(run, task, (value, choice), parent)
        members = ((task, digest_of(task)), ("pkg.other", digest_of("pkg.other")))
        end = self.history.end(begun, output=self._put(value), edges=edges)._replace(
            arguments=(Argument("x", self._put(choice % len(VALUES))),),
            stdout=self._put(5) if choice % 5 == 0 else None,
            versions=digest_of(members),
        )
        codes = [
            Code(code, name, (("function", name, b"", f"def {name}"),)) for name, code in members
        ]
        self.store.append(*codes, Versions(digest_of(members), members), begun, end)
        self.calls.append(end)

    def _child(self, value: int, choice: int) -> None:
        parent = self.calls[choice % len(self.calls)].id if self.calls else None
        self._call(value, choice, parent)

    def _lost(self, value: int, choice: int) -> None:
        self.store.append(self.history.begin(self.runs[choice % len(self.runs)], "pkg.lost"))

    def _hit(self, value: int, choice: int) -> None:
        if self.calls:
            made = self.calls[value % len(self.calls)]
            self.store.append(self.history.hit(self.runs[choice % len(self.runs)], made))

    def _forget(self, value: int, choice: int) -> None:
        if self.calls:
            self.store.append(Forget(self.calls[choice % len(self.calls)].key, self.history.now()))

    def _accept(self, value: int, choice: int) -> None:
        one, other = (digest_of(f"pkg.task{n % 3}") for n in (value, choice))
        self.store.append(Accept("pkg.task", one, (other,), self.history.now(), "a"))

    def _tag(self, value: int, choice: int) -> None:
        run = self.runs[choice % len(self.runs)]
        self.store.append(self.history.tag(run, (f"tag{value}",), (f"tag{choice % 5}",)))

    def _end(self, value: int, choice: int) -> None:
        self.store.append(self.history.end_run(self.runs[choice % len(self.runs)]))

    def _put(self, value: int) -> Ref:
        return self.store.put(VALUES[value], digest(VALUES[value]))


def answers(store: Store) -> dict[str, Any]:
    """What the store says, without the places of its records."""
    store.catch_up()
    catalog = store.catalog
    runs = [
        (r.id, r.name, r.parent, r.started, r.status, r.ended, sorted(r.tags))
        for r in catalog.find_runs()
    ]
    calls = catalog.find_calls()
    rows = [
        tuple(value for value in call if type(value) is not type(call.location)) for call in calls
    ]
    records = [store.journal.read(call.location) for call in calls]
    ends = [record for record in records if isinstance(record, CallEnd)]
    return {
        "runs": runs,
        "calls": rows,
        "records": records,
        "memos": [store.find_memo(end.code, end.key) for end in ends],
        "values": [store.get(Ref(*ref)) for ref in refs(ends)],
        "codes": [store.code(end.code) for end in ends],
        "versions": [store.versions(end.versions) for end in ends if end.versions],
        "accepted": sorted(store.kin().accepted().items()),
        "made": [catalog.producers(digest(value)) and True for value in VALUES],
    }


def refs(ends: Iterable[CallEnd]) -> Iterator[tuple[Any, ...]]:
    for end in ends:
        yield from (ref for ref in (end.output, end.stdout) if ref is not None)
        yield from (argument[1] for argument in end.arguments)


@settings(max_examples=20)
@given(first=STEPS, second=STEPS, third=STEPS)
def test_after_push_and_pull_both_stores_answer_the_same(
    first: Steps, second: Steps, third: Steps
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here, there = (open_store(Path(folder, name)) for name in ("here", "there"))
        writer, other = Author(here, "here"), Author(there, "there", 1_000)
        writer.write(first)
        other.write(second)
        push(there, store=here)
        writer.write(third)
        push(there, store=here)
        pull(there, store=here)
        assert answers(here) == answers(there)
        for again in (push(there, store=here), pull(there, store=here)):
            assert (again.records, again.objects, again.nbytes) == (0, 0, 0)


@settings(max_examples=10)
@given(steps=STEPS)
def test_a_bundle_answers_as_the_store_does(steps: Steps) -> None:
    with tempfile.TemporaryDirectory() as folder:
        here = open_store(Path(folder, "here"))
        Author(here, "here").write(steps)
        made = export_bundle(Path(folder, "x.tar"), store=here)
        taken = import_bundle(Path(folder, "x.tar"), store=Path(folder, "there"))
        assert counts(made) == counts(taken)
        assert answers(here) == answers(open_store(Path(folder, "there")))


@settings(max_examples=20)
@given(steps=STEPS, chosen=st.lists(st.integers(0, 30), min_size=1, max_size=3))
def test_what_belongs_to_a_call_answers_the_same(steps: Steps, chosen: list[int]) -> None:
    """Everything that its record, and those of all calls it came from, refer to is there."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = (open_store(Path(folder, name)) for name in ("here", "there"))
        author = Author(here, "here")
        author.write([("call", 6, 3), ("hit", 0, 2), *steps])
        rows = here.catalog.find_calls()
        ids = [rows[number % len(rows)].id for number in chosen]
        push(there, *(id.hex() for id in ids), store=here)
        found = there.catalog.calls_of([row.id for row in there.catalog.find_calls()])
        assert set(ids) <= set(found)
        said = {row.id: row for row in rows}
        for row in found.values():
            record = there.journal.read(row.location)
            assert record == here.journal.read(said[row.id].location)
            assert there.catalog.find_runs(prefix=row.run.hex())
            needed = {row.producer} - {None}
            if isinstance(record, CallEnd):
                needed |= {edge[1] for edge in record.edges}
                needed |= {child.id for child in here.catalog.children_of([row.id], 100)}
                assert there.code(record.code) == here.code(record.code)
                assert there.find_memo(record.code, record.key) is not None or (
                    here.find_memo(record.code, record.key) is None
                )
                for ref in refs([record]):
                    assert there.get(Ref(*ref)) == here.get(Ref(*ref))
            assert needed <= set(found)
        assert push(there, *(id.hex() for id in ids), store=here).records == 0
        push(there, store=here)
        assert answers(here) == answers(there)


def counts(transfer: Transfer) -> tuple[int, int, int, int]:
    return transfer.runs, transfer.calls, transfer.records, transfer.objects
