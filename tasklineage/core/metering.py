"""What a call takes of the machine: CPU time, memory, and memory of GPUs.

In a thread that others run beside, only the CPU time of that thread is the call's own. In a worker
process there is nobody else: CPU time is that of all its threads, and of the processes that the
call has waited for; memory is the most that was resident while the call ran. The kernel keeps that
maximum, and lets go of it when told to (`/proc/self/clear_refs`), so that it is one of the call and
not of the life of its worker. A call inside of another begins a new maximum, and what was there
before is added to those around it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from time import perf_counter, process_time, thread_time
from typing import Any, ClassVar

_BRIEF = 1e-3
"""Seconds below which a call inside of another is not worth a look at the memory."""
_RESET_PEAK = b"5"
_MOST = 1 << 13
_PAGE = os.sysconf("SC_PAGE_SIZE")
"""Of a page of memory."""


Usage = tuple[float | None, int | None, int | None]
"""What one call took: CPU seconds; the bytes of its process that were resident at once, at most;
the bytes of its GPUs that were allocated at once, at most. None: not known."""
NOTHING: Usage = (None, None, None)


def added(before: Usage, taken: tuple[float, int, int]) -> Usage:
    """What was taken by attempts and by one more; 0 bytes are not known."""
    (cpu, memory, gpu), (seconds, *most) = before, taken
    return (cpu or 0.0) + seconds, max(memory or 0, most[0]) or None, max(gpu or 0, most[1]) or None


class Meters:
    """The meters that run in this process. The lock guards all of it."""

    in_use: ClassVar[bool] = False
    """Whether this process is a worker, where every call has a meter."""
    lock = threading.Lock()
    running: ClassVar[list[Meter]] = []
    looked: ClassVar[float] = 0.0
    """When the maximum was last looked at."""
    is_reset: ClassVar[bool] = False
    """Whether the kernel is known to begin a maximum anew when it is told to."""
    floor: ClassVar[int] = 0
    """The maximum as it was then."""
    is_fresh: ClassVar[bool] = False
    """Whether the maximum is known to be what is resident, so that none need be begun."""
    faults: ClassVar[int] = -1
    """Page faults of this process when the maximum was last begun: without one more of them, no
    more has become resident since."""
    resident: ClassVar[int] = 0
    """The bytes that were resident then."""
    waited: ClassVar[float | None] = None
    """CPU seconds of the processes that this one had waited for when a call last ended."""


class Meter:
    """Measures from its making to its end.

    `is_outermost`: the call was shipped to this process, which has nothing else to do, unless there
    is another one of these.
    """

    __slots__ = ("_began", "_clocks", "_is_alone", "_is_outermost", "gpu", "memory")

    def __init__(self, *, is_outermost: bool = False) -> None:
        self.memory = self.gpu = 0
        self._is_outermost = is_outermost
        self._began = perf_counter()
        with Meters.lock:
            others = Meters.running
            self._is_alone = is_outermost and not others
            if is_outermost:
                for other in others:
                    other._is_alone = False
            if not others or self._began - Meters.looked > _BRIEF:
                _look(others)
                _begin_maximum()
            others.append(self)
        self._clocks = thread_time(), process_time() + _waited() if is_outermost else 0.0

    def end(self) -> tuple[float, int, int]:
        """CPU seconds and bytes that it took; 0 bytes are not known."""
        thread, process = self._clocks
        if self._is_outermost:
            Meters.waited = None
        cpu = process_time() + _waited() - process if self._is_alone else thread_time() - thread
        with Meters.lock:
            is_brief = perf_counter() - self._began < _BRIEF
            if self._is_outermost or not Meters.in_use or not is_brief:
                _look(Meters.running)
            with contextlib.suppress(ValueError):  # forked meanwhile
                Meters.running.remove(self)
        return cpu, self.memory, self.gpu


def _look(meters: list[Meter]) -> None:
    """Take the maximum since the last one was begun as one of these meters."""
    Meters.looked = perf_counter()
    if meters:
        memory, gpu = _peak_memory(), _gpu_memory()
        for meter in meters:
            meter.memory = max(meter.memory, memory)
            meter.gpu = max(meter.gpu, gpu)


def _begin_maximum() -> None:
    if Meters.in_use and not Meters.is_fresh:
        with contextlib.suppress(OSError):
            os.write(_Files.opened("clear_refs", os.O_WRONLY), _RESET_PEAK)
        Meters.faults, Meters.resident, Meters.is_fresh = _faults(), _resident(), True
        if not Meters.is_reset:
            Meters.floor, now = _status()
            Meters.is_reset = Meters.floor == now
    for cuda, device in _cuda_devices():
        cuda.reset_peak_memory_stats(device)


def _peak_memory() -> int:
    """The maximum; where it cannot be begun anew and has not grown, what is resident now."""
    if not Meters.in_use:
        return 0
    if Meters.resident and _faults() == Meters.faults:
        Meters.is_fresh = _resident() == Meters.resident
        return Meters.resident
    Meters.is_fresh = False
    peak, now = _status()  # it takes the kernel some microseconds to say
    return peak if Meters.is_reset or peak > Meters.floor else now


def _status() -> tuple[int, int]:
    """The most bytes that were resident, and those that are; 0 where nobody says it."""
    try:
        content = os.pread(_Files.opened("status", os.O_RDONLY), _MOST, 0)
    except OSError:  # not Linux
        return 0, 0
    return _kilobytes(content, b"VmHWM:"), _kilobytes(content, b"VmRSS:")


def _resident() -> int:
    """Bytes that are resident; 0 where nobody says it."""
    try:
        content = os.pread(_Files.opened("statm", os.O_RDONLY), _MOST, 0)
    except OSError:  # not Linux
        return 0
    return int(content.split(None, 2)[1]) * _PAGE


def _faults() -> int:
    """How often this process has met a page that it did not have."""
    import resource  # slow to import, for workers

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def _kilobytes(content: bytes, name: bytes) -> int:
    _, _, rest = content.partition(name)
    return int(rest.split(None, 1)[0]) << 10 if rest else 0


def _waited() -> float:
    """CPU seconds of the processes that this one has waited for: nobody does between two calls."""
    if Meters.waited is None:
        import resource  # slow to import, for workers

        others = resource.getrusage(resource.RUSAGE_CHILDREN)
        Meters.waited = others.ru_utime + others.ru_stime
    return Meters.waited


def _gpu_memory() -> int:
    """Bytes that torch has had allocated at once on each GPU, and that cupy holds."""
    found = sum(cuda.max_memory_allocated(device) for cuda, device in _cuda_devices())
    cupy: Any = sys.modules.get("cupy")
    if cupy is not None:
        with contextlib.suppress(Exception):  # no GPU after all
            found += cupy.get_default_memory_pool().total_bytes()
    return int(found)


def _cuda_devices() -> Iterator[tuple[Any, int]]:
    """`torch.cuda` with each device that this process sees, if it uses any; it imports nothing."""
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        for device in range(cuda.device_count()):
            yield cuda, device


class _Files:
    """Files in which the kernel tells of this process, kept open: they are read for each call."""

    known: ClassVar[dict[str, int]] = {}

    @classmethod
    def opened(cls, name: str, flags: int) -> int:
        """The descriptor of one of them.

        Raises
        ------
        OSError
            There is no such file here, or it may not be opened.
        """
        fd = cls.known.get(name)
        if fd is None:
            fd = cls.known[name] = os.open(f"/proc/self/{name}", flags | os.O_CLOEXEC)
        return fd


def _after_fork() -> None:
    while _Files.known:  # which tell of the parent
        os.close(_Files.known.popitem()[1])
    Meters.lock = threading.Lock()
    Meters.running = []
    Meters.is_fresh, Meters.waited = False, None


os.register_at_fork(after_in_child=_after_fork)
