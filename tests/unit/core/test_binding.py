"""Arguments become one value per parameter, as Python itself binds them."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from tasklineage.core.binding import binding_of

DECLARED = (
    "", "a", "a, b=2", "a, /", "a, b=1, /, c=2", "*args", "a, *args, b", "a, *, b, c=3",
    "**kwargs", "a, /, b, *args, c=4, d, **kwargs", "a=1, /, *, b", "_default_0=1, call=2",
)  # fmt: skip
GIVEN: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3), {}), ((), {"a": 1}), ((1,), {"b": 5}),
    ((1,), {"b": 5, "c": 6}), ((1, 2), {"d": 7}), ((1, 2, 3), {"d": 7, "z": 8}), ((1,), {"a": 2}),
)  # fmt: skip


def declared(parameters: str) -> Any:
    space: dict[str, Any] = {}
    exec(f"def call({parameters}): local = 1", space)
    return space["call"]


def by_inspect(function: Any, args: Any, kwargs: Any) -> Any:
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return tuple(bound.arguments.values())


def result(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except TypeError:
        return TypeError


@pytest.mark.parametrize("parameters", DECLARED)
def test_values_and_names_are_those_that_inspect_finds(parameters: str) -> None:
    function = declared(parameters)
    binding = binding_of(function)
    assert binding.names == tuple(inspect.signature(function).parameters)
    for args, kwargs in GIVEN:
        ours = result(lambda a, k: binding.bind(*a, **k), args, kwargs)
        assert ours == result(by_inspect, function, args, kwargs)


def test_a_signature_that_a_function_claims_is_taken() -> None:
    def function(*args: Any, **kwargs: Any) -> None: ...

    function.__signature__ = inspect.signature(lambda x, y=2: None)  # type: ignore[attr-defined]
    assert binding_of(function).bind(1) == (1, 2)


def test_a_wrapper_is_bound_by_its_own_parameters() -> None:
    @functools.wraps(declared("a, b"))
    def wrapper(*args: Any) -> None: ...

    assert binding_of(wrapper).names == ("args",)


def test_other_callables_are_bound_too() -> None:
    assert binding_of(functools.partial(declared("a, b=2, *, c"), 1)).names == ("b", "c")
