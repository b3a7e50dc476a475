"""References that cannot be resolved: listed on the call, and refused where `strict` is set."""

from __future__ import annotations

import asyncio
import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.cli.main import main

COMPUTED = "getattr with a computed name"


@task
def computed(name: str) -> float:
    found: Any = [math][0]
    return float(getattr(found, name)(4))


@task
async def computed_async(name: str) -> float:
    found: Any = [math][0]
    return float(getattr(found, name)(4))


@task(track=[math])
def named(name: str) -> float:
    found: Any = [math][0]
    return float(getattr(found, name)(4))


@task
def calls_computed(x: int) -> float:
    return computed("sqrt") + x


@task
def calls_named(x: int) -> float:
    return named("sqrt") + x


@task
def undefined(x: int) -> int:
    return x or not_defined_anywhere  # type: ignore[name-defined, no-any-return]  # noqa: F821


with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)
    STREAM = open(__file__, encoding="utf-8")  # noqa: SIM115  # the case is a stream in a global
    STREAM.close()


@task
def reads_stream(x: int) -> int:
    return x if STREAM.closed else 0


def refused(make: Callable[[], Any], *texts: str) -> tl.ConfigError:
    with pytest.raises(tl.ConfigError) as raised:
        make()
    for text in texts:
        assert text in str(raised.value)
    return raised.value


def test_an_unresolved_reference_is_listed_on_the_call_its_hits_and_in_show(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert computed("sqrt") == computed("sqrt") == 2.0
    hit, executed = tl.calls("computed")
    assert hit.hit
    for call in (executed, hit):
        assert len(call.untracked) == 1
        assert call.untracked[0].endswith(f".computed: {COMPUTED}")
    with pytest.raises(SystemExit):
        main(["show", executed.id])
    assert COMPUTED in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["show", hit.id, "--json"])
    shown = json.loads(capsys.readouterr().out)["call"]
    assert shown["untracked"] == list(executed.untracked)


def test_a_call_without_unresolved_references_lists_none() -> None:
    @task
    def plain(x: int) -> int:
        return x + 1

    plain(1)
    assert tl.calls("plain")[0].untracked == ()


@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (lambda: computed("sqrt"), COMPUTED),
        (lambda: computed.submit("sqrt").result(), COMPUTED),
        (lambda: tl.map(computed, ["sqrt", "exp"]).results(), COMPUTED),
        (lambda: tl.map(computed, ["sqrt", "exp"], executor="inline").results(), COMPUTED),
        (lambda: tl.gather(computed.bind("sqrt"), computed.bind("exp")), COMPUTED),
        (lambda: tl.join(reads_stream, [1]), "STREAM"),
        (lambda: asyncio.run(computed_async("sqrt")), COMPUTED),  # type: ignore[arg-type]
        (lambda: asyncio.run(tl.amap(computed_async, ["sqrt"])), COMPUTED),
        (lambda: computed_async.submit("sqrt").result(), COMPUTED),
        (lambda: calls_computed(1), COMPUTED),
        (lambda: undefined(1), "not_defined_anywhere"),
        (lambda: computed.options(tags=("x",))("sqrt"), COMPUTED),
        (lambda: computed.cached("sqrt"), COMPUTED),
    ],
)
def test_strict_refuses_every_kind_of_call(make: Callable[[], Any], reference: str) -> None:
    tl.configure(strict=True)
    error = refused(make, reference, "strict=True", "version=")
    assert error.data["untracked"]
    assert error.data["task"] in str(error)
    assert not [call for call in tl.calls() if call.status == "done"]


def test_strict_holds_from_the_moment_it_is_set_until_it_is_unset() -> None:
    assert computed("sqrt") == 2.0
    tl.configure(strict=True)
    refused(lambda: computed("sqrt"), "test_strict.computed", COMPUTED, "track=")
    tl.configure(strict=False)
    assert computed("sqrt") == 2.0
    assert tl.calls("computed")[0].hit


def test_the_message_says_what_to_do_about_a_name_and_about_a_value() -> None:
    tl.configure(strict=True)
    assert "track=" not in str(refused(lambda: reads_stream(1), "STREAM", "arguments"))
    assert "arguments" not in str(refused(lambda: computed("exp"), "track="))


def test_targets_named_in_track_are_enough() -> None:
    tl.configure(strict=True)
    assert named("sqrt") == 2.0
    assert calls_named(1) == 3.0


def test_a_variable_in_track_is_no_target() -> None:
    tl.configure(strict=True)
    refused(lambda: computed.options(track=("env:HOME",))("sqrt"), COMPUTED)


def test_a_version_stands_for_the_code() -> None:
    tl.configure(strict=True)
    assert computed.options(version="1")("sqrt") == 2.0


def test_a_refused_child_fails_its_parent_with_the_error() -> None:
    @task
    def apply(child: Any, x: str) -> float:
        return float(child(x))

    tl.configure(strict=True)
    refused(lambda: apply(computed, "sqrt"), "test_strict.computed", COMPUTED)
    (call,) = tl.calls("apply")
    assert call.status == "failed"
    assert call.error is not None
    assert call.error.type.endswith("ConfigError")
