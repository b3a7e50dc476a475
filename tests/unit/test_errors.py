"""The errors: one root, data as attributes, readable text, and they cross process boundaries."""

from __future__ import annotations

import copy
import errno
import pickle
import re

import pytest

import tasklineage as tl
from tasklineage import errors

KINDS = sorted(
    (
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.TasklineageError)
    ),
    key=lambda kind: kind.__name__,
)

BUILTINS = {
    errors.ConfigError: ValueError,
    errors.UnhashableArgument: TypeError,
    errors.StoreError: OSError,
    errors.MissingObject: KeyError,
    errors.NotFound: KeyError,
    errors.AmbiguousId: KeyError,
    errors.MergeConflict: ValueError,
    errors.LengthMismatch: ValueError,
    errors.TooManyItems: ValueError,
    errors.TaskTimeout: TimeoutError,
    errors.UnsatisfiableResources: ValueError,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_the_message(kind: type[errors.TasklineageError]) -> None:
    assert str(kind("train(cfg.opt): what to do")) == "train(cfg.opt): what to do"


@pytest.mark.parametrize("kind", KINDS)
def test_data_are_attributes(kind: type[errors.TasklineageError]) -> None:
    error = kind("no", value=[1, 2], path="cfg.opt")
    assert (error.value, error.path) == ([1, 2], "cfg.opt")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_crosses_a_process_boundary(
    kind: type[errors.TasklineageError], protocol: int
) -> None:
    error = kind("no", value=[1, 2], task="train")
    error.add_note("in call 01")
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is kind
    assert str(back) == "no"
    assert back.value == [1, 2]
    assert back.task == "train"
    assert back.__notes__ == ["in call 01"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_equal_in_kind_text_and_data(kind: type[errors.TasklineageError]) -> None:
    back = copy.copy(kind("no", value=1))
    assert (type(back), str(back), back.value) == (kind, "no", 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "builtin"), BUILTINS.items())
def test_people_who_catch_the_builtin_catch_it(kind: type[Exception], builtin: type) -> None:
    assert issubclass(kind, builtin)


def test_a_store_error_tells_the_systems_errno() -> None:
    error = errors.StoreError("the disk is full", errno=errno.ENOSPC)
    assert error.errno == errno.ENOSPC
    assert pickle.loads(pickle.dumps(error)).errno == errno.ENOSPC


def test_the_docstring_draws_the_whole_tree() -> None:
    drawn = set(re.findall(r"\b[A-Z]\w+", (errors.__doc__ or "").split("A task's own")[0]))
    assert {kind.__name__ for kind in KINDS} <= drawn


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_public(kind: type[errors.TasklineageError]) -> None:
    assert getattr(tl, kind.__name__) is kind
    assert kind.__name__ in tl.__all__


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_when_it_comes(kind: type[errors.TasklineageError]) -> None:
    assert kind.__doc__
