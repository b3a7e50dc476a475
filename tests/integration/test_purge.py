"""A value that is purged is nowhere in the store, and nobody serves it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given

import tasklineage as tl
from tasklineage import task
from tasklineage.errors import MissingObject, StoreError
from tasklineage.key.digest import digest
from tasklineage.storage import erase, gc
from tasklineage.storage.fsck import check
from tasklineage.storage.ground import ground_of
from tasklineage.storage.opening import open_store
from tasklineage.storage.records import KIND_OF, CallEnd, Purged, Ref, decode, encode
from tasklineage.storage.store import Store
from tests.crash import killer
from tests.integration.shell import Shell
from tests.unit.storage.history import History

CANARY = "canary-7f3a"


@task
def secret(n: int) -> str:
    return f"{'a3f7-yranac'[::-1]} {n} " * n  # so that it does not stand in the recorded code


@task
def holder(n: int) -> dict[str, Any]:
    return {"inside": secret(n), "other": list(range(5000)), "n": n}


@task
def used(text: str) -> int:
    return len(text)


def found_in(root: Path, text: str = CANARY) -> list[str]:
    """The files that have the text in them."""
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("n", [1, 3, 30, 500, 3000])
def test_its_bytes_and_previews_are_gone(store: Store, command: Shell, n: int) -> None:
    with tl.run("job", store=store) as run:
        value = secret(n)
        used(value)
        tl.tag(value, "kept", store=store)
    call = run["secret"]
    assert found_in(store.path)
    told = command.said("purge", call.output.digest)
    assert "nothing was changed" in told
    assert found_in(store.path)
    answer = json.loads(
        command("purge", call.output.digest, "--yes", "--json", "--reason", "asked to")
    )
    assert answer["digests"] == [call.output.digest]
    assert found_in(store.path) == []
    assert check(store.path, read_data=1, decode=True).is_healthy
    with tl.run("again", store=store):
        assert not secret.cached(n)
    for reader in (store, Store(store.path)):
        (found,) = tl.calls(secret, store=reader)
        assert found.status == "done"
        with pytest.raises(MissingObject):
            found.result  # noqa: B018
        assert found.output is not None
        assert n < 3 or found.output.preview.strip() == "purged"
        (taker,) = tl.calls(used, store=reader)
        assert taker.result == len(value)
        with pytest.raises(MissingObject):
            taker.args["text"]
        assert tl.lineage(taker, store=reader).nodes
        with pytest.raises(MissingObject):
            tl.load("kept", store=reader)


def test_it_executes_again_and_is_then_stored_again(store: Store, command: Shell) -> None:
    with tl.run("job", store=store):
        value = secret(4)
    command("purge", digest_text(value), "--yes")
    with tl.run("job", store=store) as run:
        assert secret(4) == value
        assert secret(4) == value
    assert (run.executed, run.hits) == (1, 1)
    command("purge", digest_text(value), "--yes")
    assert found_in(store.path) == []


def digest_text(value: Any) -> str:
    return f"xxh3:{digest(value).hex()}"


def test_a_call_stands_for_its_result(store: Store, command: Shell) -> None:
    with tl.run("job", store=store) as run:
        secret(4)
    command("purge", run["secret"].id, "--yes")
    assert found_in(store.path) == []
    command("purge", run.id, code=2)
    command("purge", "ffffffffffff", code=3)


@pytest.mark.parametrize("n", [40, 3000])
def test_results_that_hold_it_go_with_it(store: Store, command: Shell, n: int) -> None:
    with tl.run("job", store=store) as run:
        holder(n)
        secret(n + 1)
    told = json.loads(command("purge", run["holder"].inputs["n"].digest, "--json"))
    assert len(told["digests"]) >= 1
    inner = run["holder"].children[0].output
    assert inner is not None
    told = json.loads(command("purge", inner.digest, "--yes", "--json"))
    holding = run["holder"].output
    assert holding is not None
    assert set(told["digests"]) == {inner.digest, holding.digest}
    assert found_in(store.path, f"{CANARY} {n} ") == []
    assert run["secret"].result == f"{CANARY} {n + 1} " * (n + 1)
    assert check(store.path, read_data=1).is_healthy
    with tl.run("again", store=store) as again:
        holder(n)
    assert again.executed == 2


def test_what_others_need_of_a_container_stays(store: Store, command: Shell) -> None:
    with tl.run("job", store=store):
        value = holder(3000)
    command("purge", digest_text(value), "--yes")
    (call,) = tl.calls(secret, store=store)
    assert call.result == value["inside"], "it is a result of its own"
    (outer,) = tl.calls(holder, store=store)
    with pytest.raises(MissingObject):
        outer.result  # noqa: B018


def test_a_process_that_has_it_in_its_cache_serves_it_no_more(store: Store) -> None:
    program = store.path.parent / "long.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys
            import tasklineage as tl
            from tasklineage import task

            @task
            def secret(n):
                return f"{'a3f7-yranac'[::-1]} {n} " * n

            with tl.run("long", store=sys.argv[1]) as run:
                for line in sys.stdin:
                    before = run.executed
                    secret(3)
                    print(run.executed - before, flush=True)
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(program), str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def executed() -> int:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        assert [executed() for _ in range(12)] == [1] + [0] * 11
        value = f"{CANARY} 3 " * 3
        erase.erase(store, erase.erasure(store, digest(value)))
        assert [executed(), executed()] == [1, 0]
        process.stdin.close()


def test_records_of_a_signed_store_are_signed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # in no working tree, whose differences would be stored too
    key = b"k" * 32
    store = open_store(tmp_path / "signed", signing_key=key)
    with tl.run("job", store=store) as run:
        value = secret(4)
        used(value)
        tl.tag(value, "kept", store=store)
    with pytest.warns(UserWarning, match="signed"):
        stranger = Store(store.path)
    with pytest.raises(StoreError, match="signing key"):
        erase.erase(stranger, erase.erasure(stranger, digest(value)))
    (store.path / "gc" / "purging").write_bytes(msgpack.packb(((), (), ())))
    with pytest.raises(StoreError, match="is not signed with the key"):
        gc.sweep(store)
    (store.path / "gc" / "purging").unlink()
    erase.erase(store, erase.erasure(store, digest(value)))
    assert found_in(store.path) == []
    assert run["used"].result == len(value)
    assert run["secret"].status == "done"
    assert store.refs.find("kept") is not None


def test_the_tombstone_says_who_and_why(store: Store, command: Shell) -> None:
    with tl.run("job", store=store):
        value = secret(4)
    command("purge", digest_text(value), "--yes", "--reason", "asked to")
    records = [
        decode(frame.kind, frame.payload)
        for frame in store.journal.scan({}, kinds=(KIND_OF[Purged],))
    ]
    assert [(one.digests, one.reason) for one in records] == [((digest(value),), "asked to")]
    assert gc.plan(store).runs == [], "gc knows the record"


def test_a_value_that_is_not_stored_can_be_purged_all_the_same(store: Store) -> None:
    planned = erase.erasure(store, bytes(16))
    erase.erase(store, planned)
    assert planned.records == []


TEXTS = st.text(max_size=80)


@given(
    data=st.binary(max_size=600) | st.none(),
    preview=TEXTS,
    other=TEXTS,
    kind=st.text(max_size=40),
    is_output=st.booleans(),
    head=st.none() | TEXTS,
)
def test_a_redacted_record_has_the_length_of_the_record(
    data: bytes | None, preview: str, other: str, kind: str, is_output: bool, head: str | None
) -> None:
    history = History()
    run = history.run()
    value = Ref(b"v" * 16, kind, "plain", 5, data, None if data else b"o" * 16, preview)
    kept = Ref(b"k" * 16, "str", "plain", 5, other.encode("utf-8", "surrogatepass"), None, other)
    _, end = history.call(
        run, output=value if is_output else kept, arguments={"x": value, "y": kept}
    )
    if head is not None:
        first = end.arguments[0]._replace(outline={"head": head, "length": 3})
        end = end._replace(arguments=(first, end.arguments[1]))
    payload = encode(end)
    redacted = erase.redacted(KIND_OF[CallEnd], payload, {b"v" * 16})
    assert len(redacted) == len(payload)
    found = decode(KIND_OF[CallEnd], redacted)
    assert found.memo is not is_output
    assert Ref(*found.arguments[1][1]) == kept
    for ref in (found.output, found.arguments[0][1]) if is_output else (found.arguments[0][1],):
        assert ref[4] is None
        assert ref[6].strip() in ("purged"[: len(ref[6])], "")
    assert found.arguments[0][3] is None
    assert found._replace(output=None, arguments=(), memo=True) == end._replace(
        output=None, arguments=(), memo=True
    )
    assert msgpack.unpackb(redacted, strict_map_key=False)


def purged(root: Path, say: killer.Say) -> None:
    store, history = Store(root), History()
    run = history.run()
    small, large, kept = "small canary", "large canary" * 3000, "kept" * 3000
    refs = [store.put(value, digest(value)) for value in (small, large, [small, large], kept)]
    store.append(run)
    for n, ref in enumerate(refs):
        parts = (("[0]", digest(small), "str"), ("[1]", digest(large), "str")) if n == 2 else ()
        begun, end = history.call(run, key=n, output=ref)
        store.append(begun, end._replace(parts=parts))
    store.append(history.end_run(run))
    say("made")
    erase.erase(store, erase.erasure(store, digest(small)))
    erase.erase(store, erase.erasure(store, digest(large)))
    say("purged")


@pytest.mark.slow
def test_killed_anywhere_it_loses_no_other_value_and_can_be_done_again(tmp_path: Path) -> None:
    for outcome in killer.sweep(purged, tmp_path, every=2):
        assert outcome.status in ("killed", "finished"), outcome
        if "made" not in outcome.said:
            continue
        store = Store(outcome.root)
        ground = ground_of(store)
        with ground.alone():
            erase.finish(store, ground)
        (run,) = tl.runs(store=store, namespace="*")
        calls = run.calls
        assert len(calls) == 4, "no record is lost"
        assert calls[3].result == "kept" * 3000
        for value in ("small canary", "large canary" * 3000):
            erase.erase(store, erase.erasure(store, digest(value)))
        assert found_in(outcome.root, "canary") == [], outcome
        found = {one.kind for one in check(outcome.root, read_data=1).damage}
        assert found <= {"format-missing", "code-missing"}, outcome
        store.close()
