"""The executor that runs works in processes of this machine, each of which can be killed.

    submit ──> driver: Threads(n) ──> a worker process, idle or new ──> outcome
                   (here)                    (its own memory, main module and interpreter)

What prepares works and waits for them runs here, in the threads of `driver`; `perform` is what they
call. A process runs one work at a time, is kept warm for the next, and takes nobody else with it
when it dies.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, ClassVar, TypeVar

from tasklineage.errors import WorkerLost
from tasklineage.executors.base import Executor
from tasklineage.executors.child import Child, Hear, NotStarted
from tasklineage.executors.leases import Limits
from tasklineage.executors.limits import Declared, travelling
from tasklineage.executors.parcels import pack, rules
from tasklineage.executors.performing import Driver, Performing, made_here
from tasklineage.executors.place import Here
from tasklineage.executors.resources import Offer, amounts, machine_offer, offer_of
from tasklineage.executors.threads import Threads, check_number, cpus

T = TypeVar("T")


class Processes(Performing):
    """Runs up to `n` works at once, each in a process of its own; by default one for each CPU.

    By default there are as many GPUs as this process sees; `gpus` says how many it shall use, and
    `resources` what else tasks may ask for, such as `{"license": 2}`. Each work that asks for GPUs
    sees those that it got in `CUDA_VISIBLE_DEVICES`, and no others.

    Works travel as pickles by value: functions of the main module, of a notebook, lambdas and
    closures too. In a worker process, and in its copies that were forked, this is one thread.
    """

    name: ClassVar[str] = "processes"
    can_kill: ClassVar[bool] = True
    shares_memory: ClassVar[bool] = False

    def __init__(
        self,
        n: int | None = None,
        *,
        gpus: int | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        check_number(f"Processes({n!r})", "processes", n)
        check_number(f"Processes(gpus={gpus!r})", "GPUs", gpus, 0)
        self.slots = n or cpus()
        self._driver = Driver(self.slots, self)
        self._gpus = gpus
        self._resources = dict(resources or {})
        self._declared = Limits(amounts(resources)) if resources else None
        self._offer = _offer(gpus, self._declared)
        super().__init__()
        self._reset()

    def _reset(self) -> None:
        self._lock = allocate_lock()
        self._idle: list[Child] = []
        self._busy: set[Child] = set()

    def __repr__(self) -> str:
        return f"Processes({self.slots})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._offer is not None:
            return _copied, (self.token, self.slots, self._gpus, self._resources)
        from tasklineage.executors.choose import executor_from

        return executor_from, (f"processes:{self.slots}",)

    def reduced_for_worker(self) -> tuple[Any, ...]:
        """How it travels to a worker, where it is one thread with the same to offer."""
        if self._declared is None:
            return self.__reduce__()
        return _in_worker, (self.token, self._declared)

    @property
    def offer(self) -> Offer:
        return self._offer or machine_offer()

    @property
    def driver(self) -> Threads:
        return self._driver

    def perform(
        self,
        call: Callable[[Callable[[Any], None]], T],
        hear: Hear = bool,
        *,
        devices: Sequence[str] = (),
        timeout: float | None = None,
    ) -> T:
        further = () if self._declared is None else (self._declared,)
        content, fds = pack(travelling(call, *further))
        try:
            while True:
                child = self._taken(",".join(devices))
                is_new = child.is_new
                try:
                    value: T = child.run(content, fds, hear, timeout)
                except NotStarted:
                    continue
                except WorkerLost:
                    if child.was_interrupted:
                        raise CancelledError("it was interrupted") from None
                    raise
                finally:
                    self._give_back(child)
                if is_new or not child.has_retired:  # else a new one may do
                    return value
        finally:
            for fd in fds:
                os.close(fd)

    def pids(self) -> list[int]:
        """The processes that there are now."""
        with self._lock:
            return [child.pid for child in (*self._idle, *self._busy)]

    def end(self) -> None:
        """Let the idle processes end, and wait for them."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()
        for child in idle:
            child.join()

    def interrupt(self) -> bool:
        """Kill the processes that are at work, whose works are cancelled; whether there were any.

        What is submitted later is run as ever.
        """
        with self._lock:
            busy = list(self._busy)
        for child in busy:
            child.interrupt()
        return bool(busy)

    def forget_parent(self) -> None:
        """Begin empty, in a child that was just forked: the processes are the parent's."""
        for child in (*self._idle, *self._busy):
            child.abandon()
        self._reset()

    def _taken(self, devices: str) -> Child:
        """An idle process that lives and has always seen these GPUs, or a new one.

        A process that has begun to use one GPU cannot be given another.
        """
        while True:
            with self._lock:
                fit = [child for child in self._idle if child.devices == devices]
                others = len(self._idle) + len(self._busy) - self.slots
                surplus = [] if fit or others < 0 else self._idle[: others + 1]
                child = fit[-1] if fit else None
                self._idle = [one for one in self._idle if one not in (*surplus, child)]
                if child is not None:
                    self._busy.add(child)
            for one in surplus:
                one.end()
                one.join()
            if child is None:
                child = Child(devices)
                with self._lock:
                    self._busy.add(child)
                return child
            if child.is_alive():
                return child
            self._give_back(child)

    def _give_back(self, child: Child) -> None:
        is_fit = child.is_fit()
        with self._lock:
            self._busy.discard(child)
            if is_fit:
                self._idle.append(child)
        if not is_fit:
            child.end()
            child.join()


class _InWorkers:
    """What stands here, in a worker, for pools of other processes."""

    known: ClassVar[dict[str, Executor]] = {}


class _InWorker(Threads):
    """Processes in a worker: one thread, with what they offer."""

    def __init__(self, declared: Limits) -> None:
        super().__init__(1)
        self._offer = Declared(machine_offer(), declared)

    @property
    def offer(self) -> Offer:
        return self._offer


def _offer(gpus: int | None, declared: Limits | None) -> Offer | None:
    usual = None if gpus is None else offer_of(None, gpus)
    return usual if declared is None else Declared(usual or machine_offer(), declared)


def _copied(token: str, n: int, gpus: int | None, resources: Mapping[str, Any]) -> Executor:
    """The pool that was copied, where it was made; elsewhere another one like it."""
    if Here.is_worker:
        return Threads(1)
    return made_here(token) or Processes(n, gpus=gpus, resources=resources)


def _in_worker(token: str, declared: Limits) -> Executor:
    if token not in _InWorkers.known:
        _InWorkers.known[token] = _InWorker(declared)
    return _InWorkers.known[token]


rules[Processes] = Processes.reduced_for_worker
