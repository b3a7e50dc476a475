"""What a task asks for beside a slot is held by its calls, and by nobody else meanwhile."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tasklineage as tl
from tasklineage import task
from tasklineage.executors.resources import Offer, amounts, held
from tasklineage.executors.threads import cpus

PATIENCE = 60.0


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-fake")
    return


@task(resources={"GPU": 1})
def on_device(number: int, folder: str) -> tuple[str, int]:
    device = os.environ["CUDA_VISIBLE_DEVICES"]
    began = time.monotonic()
    time.sleep(0.05)
    with open(os.path.join(folder, f"{number}"), "w", encoding="utf-8") as file:
        file.write(f"{device} {began} {time.monotonic()}")
    return device, os.getpid()


@task(resources={"GPU": 2})
def on_both() -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.usefixtures("two_devices")
def test_each_call_has_a_device_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "uses"
    folder.mkdir()
    with tl.Processes(4) as pool, tl.run(executor=pool):
        found = tl.map(on_device, range(8), folder=str(folder)).results()
        assert on_both.submit().result() == "3,GPU-fake"
        again = tl.map(on_device, range(8, 12), folder=str(folder)).results()
        assert len(pool.pids()) <= 4
    assert {device for device, _ in found} == {"3", "GPU-fake"}
    devices = dict(map(reversed, found + again))
    assert all(devices[pid] == device for device, pid in found + again)
    uses: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in folder.iterdir():
        device, began, ended = path.read_text().split()
        uses[device].append((float(began), float(ended)))
    assert sum(map(len, uses.values())) == 12
    for times in uses.values():
        ordered = sorted(times)
        assert all(one[1] <= two[0] for one, two in pairwise(ordered))


@task(resources={"GPU": 3})
def wants_three() -> int:
    return 3


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("executor", ["inline", "threads:2", "processes:1"])
def test_what_nobody_has_fails_when_it_is_submitted(executor: str) -> None:
    with tl.run("too much", executor=executor) as run:
        for submit in (wants_three, wants_three.submit, lambda: tl.map(widened, [1])):
            with pytest.raises(tl.UnsatisfiableResources, match=r"GPU 3.*offered: .*GPU 2"):
                submit()
    assert run.executed == 0


@task(resources={"GPU": 3})
def widened(x: int) -> int:
    return x


WHOLE = cpus()


@task(resources={"cpu": WHOLE})
def alone(number: int, folder: str) -> int:
    path = os.path.join(folder, "busy")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    time.sleep(0.005)
    os.unlink(path)
    return number


@pytest.mark.parametrize("executor", ["threads:4", "processes:2"])
def test_calls_that_need_everything_run_one_at_a_time(executor: str, tmp_path: Path) -> None:
    with tl.run("alone", executor=executor):
        futures = [alone.submit(n, str(tmp_path)) for n in range(4)]
        assert tl.map(alone, range(4, 8), folder=str(tmp_path)).results() == [4, 5, 6, 7]
        assert [future.result() for future in futures] == [0, 1, 2, 3]


@task(resources={"cpu": WHOLE})
def outer(depth: int) -> int:
    if depth == 0:
        return 0
    return 1 + sum(tl.map(outer, [depth - 1, depth - 1], executor="threads:2")) // 2


def test_what_a_call_holds_counts_for_the_calls_inside_of_it() -> None:
    assert outer(3) == 3


@task(resources={"license": 1})
def licensed(x: int) -> int:
    return x


def test_an_executor_may_have_what_somebody_declares() -> None:
    with tl.Processes(2, resources={"license": 1}) as pool:
        assert tl.map(licensed, range(3), executor=pool).results() == [0, 1, 2]
    with pytest.raises(tl.UnsatisfiableResources, match="license"):
        licensed(1)


def test_a_hit_waits_for_nothing(tmp_path: Path) -> None:
    offer = tl.Threads(2).offer
    assert tl.map(alone, [1, 2], folder=str(tmp_path), executor="threads:2").results() == [1, 2]
    with offer.reserve({"cpu": float(WHOLE)}):
        done = threading.Thread(
            target=lambda: tl.map(alone, [1], folder=str(tmp_path), executor="threads:2").results()
        )
        done.start()
        done.join(PATIENCE)
        assert not done.is_alive()


@given(
    st.dictionaries(st.sampled_from(["a", "b", "GPU"]), st.integers(1, 4), min_size=1),
    st.integers(0, 2**32),
)
def test_never_more_is_held_than_there_is(total: dict[str, int], seed: int) -> None:
    devices = [str(i) for i in range(total.get("GPU", 0))]
    offer = Offer({name: float(n) for name, n in total.items()}, devices)
    lock = threading.Lock()
    now: dict[str, float] = defaultdict(float)
    in_use: list[str] = []
    broken: list[str] = []

    def work(number: int) -> None:
        chance = random.Random(seed + number)
        for _ in range(5):
            asked = {
                name: float(chance.randint(1, most))
                for name, most in total.items()
                if chance.random() < 0.7
            }
            with offer.reserve(asked) as lease:
                with lock:
                    for name, amount in asked.items():
                        now[name] += amount
                        if now[name] > total[name]:
                            broken.append(name)
                    if set(lease.devices) & set(in_use) or len(lease.devices) != asked.get(
                        "GPU", 0
                    ):
                        broken.append("devices")
                    in_use.extend(lease.devices)
                with offer.reserve(asked) as inner:  # held already
                    assert inner.devices == lease.devices
                with lock:
                    for name, amount in asked.items():
                        now[name] -= amount
                    for device in lease.devices:
                        in_use.remove(device)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not broken
    assert held().amounts == {}


@pytest.mark.parametrize(
    ("given_amount", "bytes_"),
    [("8GB", 8e9), ("1.5 GiB", 1.5 * 2**30), ("512k", 512e3), ("7", 7), (3, 3), (2.5, 2.5)],
)
def test_sizes_are_read(given_amount: str | float, bytes_: float) -> None:
    assert amounts({"memory": given_amount}) == {"memory": bytes_}


@pytest.mark.parametrize(
    "wrong",
    [
        {"GPU": 0.5},
        {"memory": "8 potatoes"},
        {"cpu": -1},
        {"cpu": True},
        {"": 1},
        {"x": None},
        "GPU",
    ],
)
def test_what_is_no_amount_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(tl.ConfigError, match="resources="):
        task(resources=wrong)(lambda: 1)
