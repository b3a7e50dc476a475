"""What goes wrong with a store, and when: decided here, carried out elsewhere."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import Any, Literal, NamedTuple

from tasklineage.errors import ConfigError

Operation = Literal["read", "write", "create", "list", "delete", "flush"]
OPERATIONS = ("read", "write", "create", "list", "delete", "flush")
CHANGES = ("write", "create", "delete", "flush")
"""What a fault concerns that does not say: reading goes well then."""
_HTTP = 400
"""Numbers from here on are answers of a server, smaller ones are those of the system."""

Error = int | str | BaseException | type[BaseException]
Operations = Operation | Collection[Operation]


class Happened(NamedTuple):
    """A fault that came."""

    operation: str
    key: str
    """Of what: a path inside the store, or the key of a backend."""
    fault: Fault


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with some of the operations on a store.

    Made by `error`, `lost`, `torn`, `short`, `slow` and `kill`. All of them take, by name:

    on
        Which operations: one or several of `"read"`, `"write"`, `"create"` (of what must not be
        there yet), `"list"`, `"delete"`, `"flush"`. By default all that change something.
    key
        Only what has such a path inside the store, a pattern as of the shell: `"objects/*"`.
    share
        This share of these operations, from 0 to 1, drawn at random from the seed.
    at
        Exactly these of them, by their numbers from 1 on: `at=3`, `at=(3, 7)`.
    after
        The first so many go well.
    times
        Not more often than this.

    Examples
    --------
    >>> Fault.error("ENOSPC", on="write", after=20)
    Fault.error('ENOSPC', on='write', after=20)
    >>> Fault.error(503, share=0.5)
    Fault.error(503, share=0.5)
    """

    kind: str
    cause: Error = "EIO"
    seconds: float = 0.0
    on: frozenset[str] = frozenset(CHANGES)
    key: str = "*"
    share: float = 1.0
    at: frozenset[int] = frozenset()
    after: int = 0
    times: int | None = None

    @staticmethod
    def error(error: Error = "EIO", /, **when: Any) -> Fault:
        """The operation is not done, and raises.

        Parameters
        ----------
        error
            The name or number of an error of the system (`"ENOSPC"`), the status of an answer by
            HTTP (503), an exception, or its class.
        """
        return _made("error", when, cause=error)

    @staticmethod
    def lost(error: Error = 503, /, **when: Any) -> Fault:
        """The operation is done, and raises all the same: only its answer was lost."""
        return _made("lost", when, cause=error)

    @staticmethod
    def torn(error: Error = "EIO", /, **when: Any) -> Fault:
        """A part of a write is done, then it raises. What writes all or nothing does nothing."""
        return _made("torn", {"on": "write", **when}, cause=error)

    @staticmethod
    def short(**when: Any) -> Fault:
        """A part of a write is done, as the system may, and its length is given: no error."""
        return _made("short", {"on": "write", **when})

    @staticmethod
    def slow(seconds: float, /, **when: Any) -> Fault:
        """The operation takes longer. By default, every one."""
        return _made("slow", {"on": OPERATIONS, **when}, seconds=seconds)

    @staticmethod
    def kill(**when: Any) -> Fault:
        """A part of a write is done, other operations are not; then SIGKILL ends the process."""
        return _made("kill", when)

    def concerns(self, operation: str, key: str) -> bool:
        """Whether it may come at this operation."""
        return operation in self.on and fnmatchcase(key, self.key)

    def __repr__(self) -> str:
        shown: list[str] = []
        if self.kind in ("error", "lost", "torn"):
            shown.append(repr(self.cause))
        if self.kind == "slow":
            shown.append(repr(self.seconds))
        if self.on != frozenset(CHANGES):
            names = sorted(self.on)
            shown.append(f"on={names[0] if len(names) == 1 else tuple(names)!r}")
        for name, default in (("key", "*"), ("share", 1.0), ("after", 0), ("times", None)):
            value = getattr(self, name)
            if value != default:
                shown.append(f"{name}={value!r}")
        if self.at:
            shown.append(f"at={tuple(sorted(self.at))}")
        return f"Fault.{self.kind}({', '.join(shown)})"


class Plan:
    """Which operations meet which faults. Any thread may draw.

    Each fault counts the operations that it concerns. Whether it comes at its n-th one follows from
    the seed, its place in the list and n alone: the same operations in the same order meet the same
    faults.
    """

    def __init__(self, faults: Sequence[Fault], seed: int = 0) -> None:
        self.happened: list[Happened] = []
        """The faults that came, in their order."""
        self.count = 0
        """How many operations there were."""
        self._seed = seed
        self._mutex = threading.Lock()
        self.follow(faults)

    def follow(self, faults: Sequence[Fault]) -> None:
        """From now on these faults come; all count from the beginning."""
        for fault in faults:
            if not isinstance(fault, Fault):
                raise ConfigError(
                    f"a fault is made by Fault.error(...) and its like, not {fault!r}"
                )
        with self._mutex:
            self._faults = tuple(faults)
            self._seen = [0] * len(faults)
            self._came = [0] * len(faults)

    def draw(self, operation: str, key: str) -> list[Fault]:
        """The faults that this operation meets: any number of slow ones, and one other at most."""
        met: list[Fault] = []
        with self._mutex:
            self.count += 1
            for place, fault in enumerate(self._faults):
                if not fault.concerns(operation, key) or not self._comes(place, fault):
                    continue
                if fault.kind == "slow" or all(one.kind == "slow" for one in met):
                    self._came[place] += 1
                    met.append(fault)
                    self.happened.append(Happened(operation, key, fault))
        return met

    def part(self, size: int) -> int:
        """How many of so many bytes a torn write writes: at least one, and not all."""
        return Random(f"{self._seed}/part/{len(self.happened)}").randrange(1, size)

    def _comes(self, place: int, fault: Fault) -> bool:
        self._seen[place] += 1
        number = self._seen[place]
        if fault.times is not None and self._came[place] >= fault.times:
            return False
        if number <= fault.after or (fault.at and number not in fault.at):
            return False
        return Random(f"{self._seed}/{place}/{number}").random() < fault.share


class Answered(Exception):
    """A server has answered with an error. `.response` is as that of `botocore`'s ClientError."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered with status {status}")
        code = "SlowDown" if status == 503 else str(status)
        self.response = {
            "Error": {"Code": code, "Message": "injected"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


def exception(fault: Fault) -> BaseException:
    """What is raised for this fault."""
    cause = fault.cause
    if isinstance(cause, BaseException):
        return cause
    if isinstance(cause, type):
        return cause("injected")
    number = getattr(errno, cause) if isinstance(cause, str) else cause
    if number < _HTTP:
        return OSError(number, f"{os.strerror(number)} (injected)")
    error = OSError(errno.EBUSY if number in (429, 503) else errno.EIO, f"HTTP {number} (injected)")
    error.__cause__ = Answered(number)
    return error


def _made(kind: str, when: dict[str, Any], **what: Any) -> Fault:
    """The fault, if it makes sense.

    Raises
    ------
    ConfigError
        It does not.
    """
    given = dict(when)
    if "on" in given:
        asked = given["on"]
        given["on"] = frozenset({asked} if isinstance(asked, str) else asked)
        unknown = sorted(given["on"] - frozenset(OPERATIONS))
        if unknown:
            raise ConfigError(f"on={unknown[0]!r}: it is of {', '.join(OPERATIONS)}")
    if "at" in given:
        numbers = given["at"]
        given["at"] = frozenset({numbers} if isinstance(numbers, int) else numbers)
    if not 0 <= given.get("share", 1.0) <= 1:
        raise ConfigError(f"share={given['share']!r}: it is a number from 0 to 1")
    cause = what.get("cause", "EIO")
    if isinstance(cause, str) and not isinstance(getattr(errno, cause, None), int):
        raise ConfigError(f"{cause!r} is no error of the system: it is named as ENOSPC or EIO are")
    try:
        return Fault(kind, **what, **given)
    except TypeError as error:
        raise ConfigError(f"Fault.{kind}: {error}") from None
