"""The store under many writers, forks, damage and full disks, through the public API."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

import tasklineage as tl


def script(folder: Path, text: str, name: str = "program.py") -> Path:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def start(path: Path, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(path), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(path: Path, *args: object) -> str:
    process = start(path, *args)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out


OVERLAP = """
    import random, sys
    import tasklineage as tl

    @tl.task
    def work(i):
        return {"i": i, "text": str(i) * 10}

    me, store = int(sys.argv[1]), sys.argv[2]
    rng = random.Random(me)
    with tl.run(f"p{me}", store=store) as run:
        for _ in range(1000):
            i = rng.randrange(1500)
            assert work(i) == {"i": i, "text": str(i) * 10}
    print(run.executed, run.hits, run.failed)
    """


def test_8_processes_with_overlapping_calls_execute_each_key_once(tmp_path: Path) -> None:
    program, store = script(tmp_path, OVERLAP), tmp_path / "store"
    processes = [start(program, i, store) for i in range(8)]
    totals = []
    for process in processes:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        totals.append([int(word) for word in out.split()])
    assert all(executed + hits == 1000 and failed == 0 for executed, hits, failed in totals)
    keys = Counter(c.key for c in tl.calls(store=store, namespace="*") if c.status == "done")
    assert set(keys.values()) == {1}
    assert len(keys) == sum(executed for executed, _, _ in totals)


def facts(store: Path) -> list[object]:
    runs = tl.runs(store=store, namespace="*")
    return [
        (
            r.id, r.name, r.status, r.hits, r.executed, r.failed,
            sorted((c.id, c.task, c.status, c.key) for c in r.calls),
        )
        for r in runs
    ]  # fmt: skip


def test_a_catalog_that_is_rebuilt_equals_the_live_one(tmp_path: Path) -> None:
    program, store = script(tmp_path, OVERLAP), tmp_path / "store"
    for i in range(2):
        output(program, i, store)
    live = facts(store)
    tl.open_store(store).close()
    for path in store.glob("catalog*"):
        path.unlink()
    again = subprocess.run(
        [
            sys.executable, "-c",
            "import sys, tasklineage as tl\n"
            "for r in tl.runs(store=sys.argv[1], namespace='*'):\n"
            "    print(r.id, r.status, r.hits, r.executed, len(r.calls))",
            str(store),
        ],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert again == [f"{i} {s} {h} {e} {len(c)}" for i, _, s, h, e, _, c in live]  # type: ignore[misc]


FORK = """
    import os, sys, time
    import tasklineage as tl

    @tl.task
    def work(i):
        time.sleep(0.001)
        return [i]

    @tl.task
    def slow(i):
        print("in", flush=True)
        time.sleep(60)

    store, how = sys.argv[1:]
    with tl.run("forked", store=store) as run:
        for i in range(20):
            work(i)
        list(tl.map(work, range(20, 40)))
        child = os.fork()
        if child == 0:
            if how == "die":
                sys.stdout.close(); os.close(1)
                time.sleep(1.5)
            assert list(tl.map(work, range(0, 100))) == [[i] for i in range(100)]
            os._exit(0)
        if how == "die":
            print("child", child, flush=True)
            slow(1)
        assert [work(i) for i in range(0, 100)] == [[i] for i in range(100)]
        assert os.waitpid(child, 0)[1] == 0
    print(run.id, run.executed, run.status)
    """


def test_parent_and_forked_child_record_into_one_run(tmp_path: Path) -> None:
    program, store = script(tmp_path, FORK), tmp_path / "store"
    run_id, executed, status = output(program, store, "both").split()
    assert (executed, status) == ("100", "done")
    (run,) = tl.runs(store=store, namespace="*")
    assert run.id == run_id
    keys = Counter(c.key for c in run.calls if c.status == "done")
    assert set(keys.values()) == {1}
    assert len(keys) == 100


def test_the_parents_death_frees_its_keys_while_the_child_lives(tmp_path: Path) -> None:
    program, store = script(tmp_path, FORK), tmp_path / "store"
    process = start(program, store, "die")
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[1])
    assert process.stdout.readline() == "in\n"
    process.kill()
    process.wait()
    os.kill(child, 0)  # it lives
    probe = script(
        tmp_path,
        """
        import os, sys
        import tasklineage as tl
        exec(open(sys.argv[1]).read().split("store, how")[0].replace("time.sleep(60)", "pass"))
        (run,) = tl.runs(store=sys.argv[2], namespace="*")
        print(run.status, run["slow"].status)
        """,
        "probe.py",
    )
    assert output(probe, program, store) == "killed lost\n"


DAMAGE = """
    import sys
    import numpy as np
    import tasklineage as tl

    @tl.task
    def small(i):
        return {"i": i}

    @tl.task
    def large(i):
        return np.full(20_000, i)

    @tl.task
    def parent(i):
        return sum(v["i"] for v in tl.map(small, range(i)))

    with tl.run("damage", store=sys.argv[1]) as run:
        for i in range(8):
            assert small(i) == {"i": i}
            value = large(i)
            assert value.shape == (20_000,) and (value == i).all()
            assert parent(i) == sum(range(i))
    print(run.executed)
    """


def files_of(store: Path) -> list[Path]:
    kinds = ("journal", "objects")
    found = [p for p in store.rglob("*") if p.is_file() and p.relative_to(store).parts[0] in kinds]
    return sorted([*found, *store.glob("catalog*")])


def damage(path: Path, how: str, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data)) if data else 0
    if how == "flip" and data:
        data[place] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del data[place:]
    elif how == "append":
        data += rng.randbytes(50)
    elif how == "zero":
        data[place : place + 4096] = bytes(len(data[place : place + 4096]))
    path.chmod(0o600)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(6))
def test_damage_is_never_read_and_heals(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    program, store = script(tmp_path, DAMAGE), tmp_path / "store"
    assert int(output(program, store)) == 24
    for how in ("flip", "cut", "append", "zero"):
        for path in rng.sample(files_of(store), 3):
            damage(path, how, rng)
        output(program, store)  # asserts that every value is right
        assert int(output(program, store)) == 0


@pytest.mark.parametrize("how", ["flip", "cut", "zero"])
def test_a_damaged_format_file_is_refused(tmp_path: Path, how: str) -> None:
    program, store = script(tmp_path, DAMAGE), tmp_path / "store"
    output(program, store)
    damage(store / "format", how, random.Random(how))
    process = start(program, store)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "StoreError" in err
    assert "format" in err.splitlines()[-1]


FULL = """
    import errno, os, sys
    import tasklineage as tl

    @tl.task
    def work(i):
        return [i]

    real = os.pwrite, os.write
    def full(fd, data, *rest):
        raise OSError(errno.ENOSPC, "No space left on device")

    with tl.run("full", store=sys.argv[1]) as run:
        assert work(1) == [1]
        os.pwrite = os.write = full
        try:
            work(2)
        except tl.StoreError as error:
            assert error.value == [2], error.value
            assert error.errno == errno.ENOSPC, error.errno
        else:
            raise AssertionError("a full disk went unnoticed")
        assert work(1) == [1]  # a hit is returned although it cannot be recorded
        os.pwrite, os.write = real
        assert work(3) == [3]
        assert work(2) == [2]
    print(run.executed)
    """


def test_a_full_disk_is_reported_and_nothing_later_is_lost(tmp_path: Path) -> None:
    program, store = script(tmp_path, FULL), tmp_path / "store"
    output(program, store)
    with tl.run(store=store):
        pass
    done = [c for c in tl.calls(store=store, namespace="*") if c.status == "done"]
    assert sorted(c.result[0] for c in done) == [1, 2, 3]


SEALED = """
    import sys
    def hook(event, args):
        if event.startswith("socket.") and event != "socket.gethostname":
            raise RuntimeError(event)
        if event in ("subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "os.exec"):
            raise RuntimeError(event)
    sys.addaudithook(hook)
    import tasklineage as tl

    @tl.task
    def work(i):
        print(i)
        return i

    with tl.run("sealed", store=sys.argv[1]) as run:
        work(1), list(tl.map(work, range(10))), work.submit(3).result()
    print(run.executed, [c.status for c in run.calls][:2], tl.latest("sealed", store=sys.argv[1]))
    """


def test_no_socket_is_opened_and_no_process_started(tmp_path: Path) -> None:
    assert "10 ['done'" in output(script(tmp_path, SEALED), tmp_path / "store")


def test_works_under_python_c(tmp_path: Path) -> None:
    text = (
        "import tasklineage as tl\n"
        "def f(x): return x + 1\n"
        "f = tl.task(f)\n"
        "print(f(1), list(tl.map(f, [1, 2])), tl.current_run().name)"
    )
    for expected_hits in (0, 1):
        out = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, text=True, capture_output=True, check=True,
            env={k: v for k, v in os.environ.items() if k != "TASKLINEAGE_STORE"},
        )  # fmt: skip
        assert out.stdout.startswith("2 [2, 3]"), out.stderr
        runs = tl.runs(store=tmp_path / ".tasklineage", namespace="*")
        assert runs[0].status == "done"
        assert (runs[0].executed == 0) == bool(expected_hits)


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("pass", "done"),
        ("raise ValueError('x')", "failed"),
        ("sys.exit(3)", "failed"),
        ("sys.exit()", "done"),
        ("sys.exit('bad')", "failed"),
        ("raise KeyboardInterrupt", "interrupted"),
        ("os.kill(os.getpid(), 9)", "killed"),
    ],
)
def test_the_ambient_run_says_how_the_interpreter_ended(
    tmp_path: Path, ending: str, status: str
) -> None:
    text = f"""
        import os, sys
        import tasklineage as tl
        @tl.task
        def f(x):
            return x
        tl.configure(store=sys.argv[1])
        f(1)
        {ending}
        """
    start(script(tmp_path, text), tmp_path / "store").wait(timeout=60)
    (run,) = tl.runs(store=tmp_path / "store", namespace="*")
    assert run.status == status


def test_a_script_edited_between_runs_executes_what_changed(tmp_path: Path) -> None:
    text = """
        import sys
        import tasklineage as tl
        RATE = 2
        def helper(x):
            return x * RATE
        @tl.task
        def a(x):
            return helper(x)
        @tl.task
        def b(x):
            return x + 1
        with tl.run(store=sys.argv[1]) as run:
            print(b(a(3)), b(10))
        print(sorted(c.task.split(".")[-1] for c in run.calls if not c.hit))
        """
    store = tmp_path / "store"
    program = script(tmp_path, text)
    assert output(program, store) == "7 11\n['a', 'b', 'b']\n"
    assert output(program, store) == "7 11\n[]\n"
    script(tmp_path, text.replace("RATE = 2", "RATE = 3  # more"))
    assert output(program, store) == "10 11\n['a', 'b']\n"  # b(9) was never asked for before
    script(tmp_path, "# moved\n\n" + textwrap.dedent(text))
    assert output(program, store) == "7 11\n[]\n"
