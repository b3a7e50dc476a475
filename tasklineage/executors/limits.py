"""What calls ask for of the limits of their runs, and of the offer of their executor."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextvars import ContextVar
from typing import Any

from tasklineage.errors import UnsatisfiableResources
from tasklineage.executors.lasting import Tell, told_to
from tasklineage.executors.leases import Held, Limits, leases_around
from tasklineage.executors.resources import CPU, GPU, MEMORY, Offer, held

_in_force: ContextVar[tuple[Limits, ...]] = ContextVar("tasklineage_limits", default=())


def in_force() -> tuple[Limits, ...]:
    """The limits of the runs around, the outermost first."""
    return _in_force.get()


@contextlib.contextmanager
def limited(*further: Limits) -> Generator[None]:
    """A block in which these limits hold too."""
    token = _in_force.set((*_in_force.get(), *further))
    try:
        yield
    finally:
        _in_force.reset(token)


def check(task: str, asked: Mapping[str, float], offer: Offer) -> None:
    """Nothing, if a call of the task could ever have what it asks for.

    Raises
    ------
    UnsatisfiableResources
        It is beyond the limits in force, or that offer does not have it.
    """
    for one in in_force():
        for name, amount in one.of(asked).items():
            if amount > one.total[name]:
                offered = ", ".join(f"{name} {total:g}" for name, total in one.total.items())
                raise UnsatisfiableResources(
                    f"{task} asks for {name} {amount:g}, beyond the limits of the run; "
                    f"offered: {offered}"
                )
    rest = _unlimited(asked, offer)
    try:
        offer.check(task, rest)
    except UnsatisfiableResources as error:
        if {GPU, CPU, MEMORY}.issuperset(rest):
            raise
        raise UnsatisfiableResources(
            f"{error}. What is not of the machine is offered by tl.run(limits={{name: amount}}), "
            "or by an executor with resources=."
        ) from None


@contextlib.contextmanager
def reserved(asked: Mapping[str, float], offer: Offer, tell: Tell | None) -> Generator[None]:
    """A block that holds what is asked for: of the limits in force, then of that offer.

    Where that is waited for long, it is told.
    """
    with contextlib.ExitStack() as stack, told_to(tell):
        for one in in_force():
            if part := one.of(asked):
                stack.enter_context(one.reserve(part))
        if rest := _unlimited(asked, offer):
            stack.enter_context(offer.reserve(rest))
        yield


@contextlib.asynccontextmanager
async def reserved_async(asked: Mapping[str, float], tell: Tell | None) -> AsyncGenerator[None]:
    """As `reserved`, of the limits in force alone, on a loop, which is not blocked."""
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(told_to(tell))
        for one in in_force():
            if part := one.of(asked):
                await stack.enter_async_context(one.reserve_async(part))
        yield


def names_held() -> frozenset[bytes]:
    """What stands, among the keys of calls, for what is held around the call in this context."""
    lease = held()
    own: frozenset[bytes] = frozenset() if lease.by is None else lease.by.names(lease.amounts)
    return own.union(*[one.names for one in leases_around.get()])


def _unlimited(asked: Mapping[str, float], offer: Offer) -> dict[str, float]:
    """What of that no limit is about, or the offer has as well."""
    names = {name for one in in_force() for name in one.total}
    return {name: n for name, n in asked.items() if name not in names or name in offer.total}


class Declared(Offer):
    """The offer of an executor for which somebody has declared what it has beside the usual."""

    def __init__(self, usual: Offer, declared: Limits) -> None:
        super().__init__({**usual.total, **declared.total})
        self.usual = usual
        self.declared = declared

    @contextlib.contextmanager
    def reserve(self, asked: Mapping[str, float]) -> Generator[Any]:
        own = self.declared.of(asked)
        with self.declared.reserve(own) if own else contextlib.nullcontext():
            rest = {name: amount for name, amount in asked.items() if name not in own}
            with self.usual.reserve(rest) as lease:
                yield lease


class Travelling:
    """A callable on its way to another process, with the leases and limits around it."""

    def __init__(self, call: Callable[[Any], Any], *further: Limits) -> None:
        self._call = call
        self._limits = (*in_force(), *further)
        self._leases = tuple(Held(lease.number, lease.names) for lease in leases_around.get())

    def __call__(self, tell: Any) -> Any:
        token = leases_around.set(self._leases)
        try:
            with limited(*self._limits):
                return self._call(tell)
        finally:
            leases_around.reset(token)


def travelling(call: Callable[[Any], Any], *further: Limits) -> Callable[[Any], Any]:
    """The callable as it has to travel: with the limits in force and `further` ones, if any."""
    return Travelling(call, *further) if in_force() or further else call
