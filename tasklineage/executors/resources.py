"""What works ask for beside a slot: CPUs, memory, GPUs, and whatever somebody has declared.

An `Offer` counts what is free. Who asks for something waits until it is, in the order of asking,
with its slot lent meanwhile; what a call holds counts for the calls inside of it too, so that a
call that holds the only GPU may make another that asks for it. Nothing is measured: a call that
takes more than it asked for is not stopped.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple

from tasklineage import config
from tasklineage.errors import ConfigError, UnsatisfiableResources
from tasklineage.executors.base import Blocked
from tasklineage.executors.lasting import PATIENCE, lasts, name_of
from tasklineage.executors.threads import cpus

GPU, CPU, MEMORY = "GPU", "cpu", "memory"
VISIBLE = "CUDA_VISIBLE_DEVICES"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_amount = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE).fullmatch


class Lease(NamedTuple):
    """What a call holds, with all that is held around it."""

    amounts: Mapping[str, float]
    devices: tuple[str, ...] = ()
    """The GPUs among that, as `CUDA_VISIBLE_DEVICES` names them."""
    by: Any = None
    """The offer that it was given by."""


_NOTHING = Lease({})
_held: ContextVar[Lease] = ContextVar("tasklineage_lease", default=_NOTHING)


def held() -> Lease:
    """What the call in this context holds."""
    return _held.get()


@contextlib.contextmanager
def hold(lease: Lease) -> Generator[None]:
    """A block in which that is what the call holds."""
    token = _held.set(lease)
    try:
        yield
    finally:
        _held.reset(token)


def amounts(resources: Mapping[str, Any], option: str = "resources") -> dict[str, float]:
    """The resources that were given for an option as numbers; memory in bytes.

    Raises
    ------
    ConfigError
        One is no amount.

    Examples
    --------
    >>> amounts({"GPU": 1, "memory": "8GB"})
    {'GPU': 1.0, 'memory': 8000000000.0}
    """
    if not isinstance(resources, Mapping):
        raise ConfigError(f'{option}= maps names to amounts, as in {{"GPU": 1}}: {resources!r}')
    return {
        normal_name(name, option): _number(name, amount, option)
        for name, amount in resources.items()
    }


class Offer:
    """What there is, and what of it is free. Any thread may call."""

    def __init__(self, total: Mapping[str, float], devices: Iterable[str] = ()) -> None:
        self.total = dict(total)
        self._free = dict(total)
        self._devices = list(devices)
        self._order = {device: place for place, device in enumerate(self._devices)}
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Mapping[str, float], threading.Event]] = deque()

    @property
    def devices(self) -> tuple[str, ...]:
        """All GPUs, as `CUDA_VISIBLE_DEVICES` names them."""
        return tuple(self._order)

    def check(self, task: str, asked: Mapping[str, float]) -> None:
        """Nothing, if a call of the task could ever have what it asks for.

        Raises
        ------
        UnsatisfiableResources
            It could not.
        """
        for name, amount in asked.items():
            if amount > self.total.get(name, 0):
                offered = ", ".join(f"{n} {shown(n, a)}" for n, a in self.total.items() if a)
                raise UnsatisfiableResources(
                    f"{task} asks for {name} {shown(name, amount)}, which nobody here has; "
                    f"offered: {offered}"
                )

    def names(self, asked: Iterable[str]) -> frozenset[bytes]:
        """What stands for these among the keys of calls."""
        return frozenset(name_of(f"offer {os.getpid()} {id(self)}", name) for name in asked)

    @contextlib.contextmanager
    def reserve(self, asked: Mapping[str, float]) -> Generator[Lease]:
        """A block that holds what is asked for, less what is held around it; waited for."""
        around = _held.get()
        missing = {
            name: amount - around.amounts.get(name, 0)
            for name, amount in asked.items()
            if amount > around.amounts.get(name, 0)
        }
        devices = self._take(missing) if missing else ()
        mine = around.devices[: int(asked.get(GPU, 0))] + devices
        devices_now = mine if GPU in asked else around.devices
        lease = Lease({**around.amounts, **asked}, devices_now, self)
        try:
            with hold(lease):
                yield lease
        finally:
            if missing:
                self._give(missing, devices)

    def _take(self, missing: Mapping[str, float]) -> tuple[str, ...]:
        turn = threading.Event()
        with self._lock:
            self._waiting.append((missing, turn))
            self._serve()
        if not turn.is_set():
            try:
                with Blocked():
                    if not turn.wait(PATIENCE):
                        with lasts(self.names(missing)):
                            turn.wait()
            except BaseException:
                self._leave(missing, turn)
                raise
        with self._lock:
            count = int(missing.get(GPU, 0))
            taken, self._devices = self._devices[:count], self._devices[count:]
        return tuple(taken)

    def _give(self, amounts: Mapping[str, float], devices: tuple[str, ...]) -> None:
        with self._lock:
            self._devices = sorted((*self._devices, *devices), key=self._order.__getitem__)
            for name, amount in amounts.items():
                self._free[name] += amount
            self._serve()

    def _serve(self) -> None:
        """Let those go on who have waited longest, as far as there is something."""
        while self._waiting:
            missing, turn = self._waiting[0]
            if any(amount > self._free.get(name, 0) for name, amount in missing.items()):
                return
            for name, amount in missing.items():
                self._free[name] -= amount
            self._waiting.popleft()
            turn.set()

    def _leave(self, missing: Mapping[str, float], turn: threading.Event) -> None:
        """Ctrl-C: nobody waits here any more."""
        with self._lock:
            if turn.is_set():
                for name, amount in missing.items():
                    self._free[name] += amount
            else:
                self._waiting = deque(one for one in self._waiting if one[1] is not turn)
            self._serve()


class _Machine:
    """The offer of this machine to this process, by the GPUs that it may see."""

    lock = threading.Lock()
    offers: ClassVar[dict[str | None, Offer]] = {}


def machine_offer() -> Offer:
    """What this machine has: CPUs, memory and GPUs, shared by all executors of this process."""
    visible = config.visible_devices()
    with _Machine.lock:
        offer = _Machine.offers.get(visible)
        if offer is None:
            devices = _devices(visible)
            total = {CPU: float(cpus()), MEMORY: float(_memory()), GPU: float(len(devices))}
            offer = _Machine.offers[visible] = Offer(total, devices)
        return offer


def offer_of(declared: Mapping[str, Any] | None, gpus: int | None = None) -> Offer:
    """The offer of an executor for which somebody has declared what it has beside the usual."""
    if not declared and gpus is None:
        return machine_offer()
    usual = machine_offer()
    devices = _devices(config.visible_devices())
    if gpus is not None:
        devices = devices[:gpus] if len(devices) >= gpus else tuple(map(str, range(gpus)))
    return Offer({**usual.total, GPU: float(len(devices)), **amounts(declared or {})}, devices)


def normal_name(name: Any, option: str = "resources") -> str:
    """The name of a resource, however it is spelt."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{option}=: a resource has a name, not {name!r}")
    lower = name.lower()
    if lower in ("gpu", "gpus"):
        return GPU
    return {"cpus": CPU, "cpu": CPU, "memory": MEMORY}.get(lower, name)


def _number(name: str, amount: Any, option: str) -> float:
    number: Any = amount
    if isinstance(amount, str) and (found := _amount(amount)) is not None:
        units = _BINARY if found[3] else _UNITS
        number = float(found[1]) * units[found[2].upper()]
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not is_number or not 0 <= number < float("inf"):
        raise ConfigError(f"{option}=: {name} is a number or a size as in '8GB', not {amount!r}")
    if normal_name(name) == GPU and number != int(number):
        raise ConfigError(f"{option}=: a call has whole GPUs, not {amount!r}")
    return float(number)


def shown(name: str, amount: float) -> str:
    """An amount for people."""
    return f"{amount / 1e9:.3g} GB" if name == MEMORY else f"{amount:g}"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _devices(visible: str | None) -> tuple[str, ...]:
    """The GPUs that programs of this process see, as `CUDA_VISIBLE_DEVICES` names them."""
    if visible is not None:
        named = [one.strip() for one in visible.split(",")]
        ended = next((i for i, one in enumerate(named) if one in ("", "-1")), len(named))
        return tuple(named[:ended])
    if shutil.which("nvidia-smi") is None:
        return ()
    import subprocess

    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(listed.stdout.split())


def _after_fork() -> None:
    _Machine.lock = threading.Lock()
    _Machine.offers = {}


os.register_at_fork(after_in_child=_after_fork)
