"""kill -9, full disks and failing disks at every operation of the journal."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasklineage.errors import StoreError
from tasklineage.storage import segment
from tasklineage.storage.flight import Flight
from tasklineage.storage.journal import Damage, Journal
from tasklineage.storage.records import Forget, Record, decode
from tests.crash.killer import KILL, ROOT, SHORT, Fault, Outcome, Say, run, sweep


def forget(number: int) -> Forget:
    """A record that is longer or shorter depending on its number."""
    return Forget(number.to_bytes(8, "big") * (1 + number % 5), float(number))


def numbers_in(root: Path, damage: list[Damage] | None = None) -> list[int]:
    """The numbers of all records, in the order in which they were written."""
    tell = None if damage is None else damage.append
    found = [
        decode(frame.kind, frame.payload)
        for frame in Journal(root, read_only=True).scan({}, on_damage=tell)
    ]
    assert all(record == forget(int(record.at)) for record in found)
    return [int(record.at) for record in found]


def append_and_say(journal: Journal, say: Say, *numbers: int) -> None:
    records: list[Record] = [forget(number) for number in numbers]
    try:
        places = journal.append(records)
    except StoreError as error:
        say(f"failed {error.errno}")
        return
    assert [journal.read(place) for place in places] == records
    for number in numbers:
        say(str(number))


def write_some(root: Path, say: Say) -> None:
    journal = Journal(root)
    append_and_say(journal, say, 1)
    append_and_say(journal, say, 2, 3, 4)
    append_and_say(journal, say, 5)


def write_segments(root: Path, say: Say) -> None:
    segment.LIMIT = 300
    journal = Journal(root, durability="power")
    for number in range(1, 9):
        append_and_say(journal, say, number)


def write_in_two_processes(root: Path, say: Say) -> None:
    journal = Journal(root)
    append_and_say(journal, say, 1)
    child = os.fork()
    if not child:
        append_and_say(journal, say, 2, 3)
        os._exit(0)
    os.waitpid(child, 0)
    append_and_say(journal, say, 4)


def said_numbers(outcome: Outcome) -> list[int]:
    return [int(text) for text in outcome.said if text.isdigit()]


def faults_of(outcomes: Iterator[Outcome], at_least: int) -> Iterator[Outcome]:
    """The outcomes, after making sure that there were faults at all and nothing hung."""
    count = 0
    for outcome in outcomes:
        assert outcome.status in ("killed", "finished"), outcome
        count += bool(outcome.operation)
        yield outcome
    assert count >= at_least


@pytest.mark.parametrize("scenario", [write_some, write_segments, write_in_two_processes])
def test_what_had_returned_is_found_wherever_the_process_is_killed(
    scenario: object, tmp_path: Path
) -> None:
    for outcome in faults_of(sweep(scenario, tmp_path), at_least=10):  # type: ignore[arg-type]
        found = numbers_in(outcome.root)
        assert set(said_numbers(outcome)) <= set(found), outcome
        assert len(found) == len(set(found)), outcome


@pytest.mark.parametrize("scenario", [write_some, write_segments])
def test_the_next_process_goes_on_wherever_the_last_was_killed(
    scenario: object, tmp_path: Path
) -> None:
    for outcome in sweep(scenario, tmp_path):  # type: ignore[arg-type]
        before = numbers_in(outcome.root)
        with_more = Journal(outcome.root)
        with_more.append([forget(100)])
        assert sorted(numbers_in(outcome.root)) == [*sorted(before), 100], outcome
        with_more.close()


def test_a_kill_leaves_no_living_writer_and_at_most_one_unfinished_frame(tmp_path: Path) -> None:
    for outcome in sweep(write_some, tmp_path):
        damage: list[Damage] = []
        numbers_in(outcome.root, damage)
        assert [one.reason for one in damage] in ([], ["unfinished"]), outcome
        journal = Journal(outcome.root, read_only=True)
        writers = [path.name for path in journal.folder.glob("[0-9a-f]*")]
        assert not any(journal.is_alive(writer) for writer in writers)


@pytest.mark.parametrize("action", [errno.ENOSPC, errno.EIO, SHORT])
@pytest.mark.parametrize("lasting", [1, 3])
@pytest.mark.parametrize("scenario", [write_some, write_segments])
def test_nothing_that_returned_is_lost_when_operations_fail(
    scenario: object, action: int, lasting: int, tmp_path: Path
) -> None:
    outcomes = sweep(scenario, tmp_path, actions=[action], lasting=lasting)  # type: ignore[arg-type]
    for outcome in faults_of(outcomes, at_least=5):
        assert outcome.status == "finished"
        found = numbers_in(outcome.root)
        assert set(said_numbers(outcome)) <= set(found), outcome
        failures = [text for text in outcome.said if text.startswith("failed")]
        assert set(failures) <= {f"failed {action}"}, outcome
        assert action != SHORT or not failures


def test_appends_work_again_when_there_is_space_again(tmp_path: Path) -> None:
    outcome = run(write_some, tmp_path, Fault(1, "before", errno.ENOSPC, lasting=2))
    assert outcome.said == [f"failed {errno.ENOSPC}", f"failed {errno.ENOSPC}", "5"]
    assert numbers_in(outcome.root) == [5]


def test_a_file_size_limit_is_a_store_error_and_earlier_records_stay(tmp_path: Path) -> None:
    outcome = run(write_until_the_limit, tmp_path, Fault(0))
    assert outcome.said[-1] == f"failed {errno.EFBIG}"
    numbers = said_numbers(outcome)
    assert len(numbers) > 10
    assert numbers_in(outcome.root) == numbers


def write_until_the_limit(root: Path, say: Say) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    journal = Journal(root)
    for number in range(1, 30):
        append_and_say(journal, say, number)
    say(f"failed {errno.EFBIG}")


HOLDER = textwrap.dedent(
    """
    import os, signal, sys, time
    sys.path.insert(0, sys.argv[2])
    from tasklineage.storage.flight import Flight
    from tasklineage.storage.journal import Journal
    from tasklineage.storage.records import Forget

    journal = Journal(sys.argv[1])
    flight = Flight(sys.argv[1], lambda: journal.writer)
    journal.append([Forget(b"1", 1.0)])
    assert flight.acquire(b"k" * 16, frozenset())
    parent = os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.read(read, 1)  # the child has let go of what it inherited
        print(journal.writer, child, flush=True)
        os.kill(parent, signal.SIGKILL)
    os.write(write, b"x")
    signal.alarm(30)
    time.sleep(60)
    """
)


def test_a_killed_parent_holds_nothing_although_its_child_lives(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), str(ROOT)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    writer, child = parent.stdout.readline().split()
    try:
        assert parent.wait(timeout=30) == -signal.SIGKILL
        os.kill(int(child), 0)
        journal = Journal(tmp_path)
        assert not journal.is_alive(writer)
        assert Flight(tmp_path, lambda: journal.writer).acquire(b"k" * 16, frozenset())
        os.kill(int(child), 0)
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.stdout.close()


def test_kill_is_the_default_action() -> None:
    assert Fault(1).action == KILL
