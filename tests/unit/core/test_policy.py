"""Retries: validation, the pure decisions, and the waits."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasklineage.core.policy import (
    LONGEST_WAIT,
    NO_RETRY,
    Retry,
    as_retry,
    exception_classes,
    pause,
    pause_async,
)
from tasklineage.errors import ConfigError


def test_retry_counts_further_attempts() -> None:
    retry = Retry(2)
    assert [retry.should_retry(ValueError(), attempt) for attempt in range(4)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_only_the_named_errors_are_retried() -> None:
    retry = Retry(1, on=(ValueError, OSError))
    assert retry.should_retry(FileNotFoundError(), 0)
    assert not retry.should_retry(KeyError(), 0)
    assert Retry(1, on=KeyError).on == (KeyError,)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_an_interrupt_is_never_retried(error: BaseException) -> None:
    assert not Retry(5).should_retry(error, 0)


def test_delays_grow_by_the_factor() -> None:
    retry = Retry(5, wait=0.5, backoff=2)
    assert [retry.delay(attempt) for attempt in range(4)] == [0.5, 1.0, 2.0, 4.0]


def test_jitter_adds_up_to_so_many_seconds() -> None:
    retry = Retry(1, wait=1, jitter=4)
    assert (retry.delay(0, 0.0), retry.delay(0, 0.5)) == (1.0, 3.0)


@given(
    wait=st.floats(0, 1e300),
    backoff=st.floats(0, 1e300),
    jitter=st.floats(0, 1e300),
    attempt=st.integers(0, 10**6),
    random=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_is_always_a_wait_that_ends(
    wait: float, backoff: float, jitter: float, attempt: int, random: float
) -> None:
    seconds = Retry(1, wait, backoff, jitter).delay(attempt, random)
    assert 0 <= seconds <= LONGEST_WAIT


@pytest.mark.parametrize(
    "options",
    [
        {"times": -1}, {"times": 1.5}, {"times": True}, {"times": "3"}, {"wait": -1},
        {"wait": math.inf}, {"wait": math.nan}, {"wait": "1"}, {"backoff": -0.5}, {"jitter": -1},
        {"jitter": True}, {"on": "ValueError"}, {"on": (ValueError, 3)}, {"on": BaseException},
        {"on": KeyboardInterrupt}, {"on": ValueError()},
    ],
)  # fmt: skip
def test_what_cannot_work_is_a_config_error(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Retry(**{"times": 1, **options})  # type: ignore[arg-type]


def test_a_retry_is_a_value() -> None:
    retry = Retry(3, wait=1, on=ValueError)
    assert pickle.loads(pickle.dumps(retry)) == copy.deepcopy(retry) == retry
    assert hash(retry) == hash(Retry(3, wait=1, on=(ValueError,)))
    with pytest.raises(AttributeError):
        retry.times = 4  # type: ignore[misc]


def test_a_number_means_that_many_retries() -> None:
    assert as_retry(3) == Retry(3)
    assert as_retry(0) is as_retry(None) is NO_RETRY
    retry = Retry(1, wait=2)
    assert as_retry(retry) is retry


@pytest.mark.parametrize("retries", ["3", 2.0, -1, True, False, [1]])
def test_retries_is_a_number_or_a_retry(retries: object) -> None:
    with pytest.raises(ConfigError):
        as_retry(retries)  # type: ignore[arg-type]


def test_exception_classes_are_given_alone_or_as_a_tuple() -> None:
    assert exception_classes((), "catch") == ()
    assert exception_classes(OSError, "catch") == (OSError,)
    with pytest.raises(ConfigError, match="catch"):
        exception_classes([OSError], "catch")


def test_a_pause_ends_when_its_event_is_set() -> None:
    event = threading.Event()
    threading.Timer(0.01, event.set).start()
    started = time.monotonic()
    assert pause(60, event)
    assert time.monotonic() - started < 30
    assert pause(0, event)
    assert not pause(0)
    assert not pause(0.001)


def test_an_async_pause_lets_the_loop_go_on() -> None:
    async def both() -> list[str]:
        seen: list[str] = []

        async def quick() -> None:
            seen.append("quick")

        async def slow() -> None:
            await pause_async(0.01)
            seen.append("slow")

        await asyncio.gather(slow(), quick())
        return seen

    assert asyncio.run(both()) == ["quick", "slow"]
