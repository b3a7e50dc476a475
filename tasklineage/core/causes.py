"""Why a call gives another result than its memo: the likely cause, and what speaks for it.

    executed once more     other again?        then it is drawn or read anew each time
    how they differ        order, rounding     hash order, floating point
    what the code names    random, time, env   read from its names and bytecode
    what was installed     then and now        the environment that the runs recorded

Nothing here is proof. Whatever speaks for a cause is named, the strongest first.
"""

from __future__ import annotations

import dis
import json
from collections.abc import Iterable, Iterator
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.core.disparity import Disparity, disparity
from tasklineage.core.environment import current_environment
from tasklineage.errors import TasklineageError
from tasklineage.query.runs import Run
from tasklineage.storage.records import CallEnd

if TYPE_CHECKING:
    from tasklineage.core.call import Call
    from tasklineage.core.verification import Trial
    from tasklineage.query.environments import Environment

RANDOMNESS, TIME, HASH_ORDER, ENVIRONMENT, FLOATING_POINT, FILES, ACCEPTED, ERROR, UNKNOWN = (
    "randomness", "time", "hash order", "environment", "floating point", "files", "accepted code",
    "error", "unknown",
)  # fmt: skip
_ADVICE = {
    RANDOMNESS: "Pass a seed, or a generator, as an argument.",
    TIME: "Pass the time as an argument; or set ttl=, or memo=False.",
    HASH_ORDER: "Sort what comes out of a set.",
    ENVIRONMENT: 'Name it in track=, as "env:NAME" or "dist:NAME".',
    FLOATING_POINT: "Round the result, or fix the number of threads.",
    FILES: "Pass files as tl.File; for what is elsewhere set ttl=, or memo=False.",
    ACCEPTED: "Revoke that, with `tasklineage accept TASK --revoke`, and it is computed anew.",
    ERROR: "What it needs may be gone; if it is meant to fail at times, set retries=.",
    UNKNOWN: "It reads something that its key does not know: pass that as an argument.",
}
_NAMES = {
    RANDOMNESS: (
        "random.", "numpy.random", "secrets.", "uuid.uuid1", "uuid.uuid4", "os.urandom",
        "os.getrandom", "tempfile.", "torch.rand", "torch.normal", "torch.multinomial",
        "torch.bernoulli",
    ),
    TIME: (
        "time.time", "time.monotonic", "time.perf_counter", "time.process_time", "time.localtime",
        "time.gmtime", "time.strftime", "time.ctime", "time.asctime", "datetime.datetime.now",
        "datetime.datetime.today", "datetime.datetime.utcnow", "datetime.date.today",
    ),
    ENVIRONMENT: (
        "os.environ", "os.getenv", "os.getcwd", "os.getpid", "os.getppid", "os.uname",
        "os.cpu_count", "socket.gethost", "platform.", "sys.argv", "sys.version", "sys.platform",
        "getpass.", "locale.", "pathlib.Path.cwd", "pathlib.Path.home",
    ),
    FILES: (
        "os.listdir", "os.scandir", "os.walk", "os.stat", "os.path.get", "glob.", "sqlite3.",
        "numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "pandas.read_",
        "polars.read_", "polars.scan_", "pyarrow.parquet.", "urllib.", "requests.", "httpx.",
        "subprocess.", "io.open",
    ),
}  # fmt: skip
"""How the names begin, of what is not of the project, that speak for a cause."""
_ATTRIBUTES = {
    TIME: frozenset({"now", "utcnow", "today"}),
    FILES: frozenset({"read_text", "read_bytes", "iterdir", "rglob"}),
}
_BUILTINS = {FILES: frozenset({"open"}), HASH_ORDER: frozenset({"set", "frozenset", "hash"})}
_SET_OPCODES = frozenset({"BUILD_SET", "SET_ADD", "SET_UPDATE"})
_MOST = 5
"""Names that are listed."""


class Finding(NamedTuple):
    """A likely cause, and a text for people."""

    cause: str
    text: str


def finding_of(
    this: Call, memo: CallEnd, answered: Any, first: Trial, second: Trial | None
) -> Finding:
    """Why a hit, executed again, came out as `first`, and yet another time as `second`."""
    if first.error is not None:
        message = str(first.error).partition("\n")[0]
        evidence = [f"{type(first.error).__qualname__}: {message}"]
        changed = _changed(this, memo)
        return _finding(ERROR, [*evidence, *([changed.text] if changed else [])])
    how = disparity(answered, first.value)
    suspects = _suspects(this, memo, how, is_unstable=_is_unstable(first, second))
    return _finding(suspects[0].cause, [how.text, *(one.text for one in suspects)])


def _finding(cause: str, evidence: Iterable[str]) -> Finding:
    return Finding(cause, f"{'; '.join(evidence)}. Likely cause: {cause}. {_ADVICE[cause]}")


def _is_unstable(first: Trial, second: Trial | None) -> bool:
    return second is not None and (second.error is not None or second.digest != first.digest)


def _suspects(this: Call, memo: CallEnd, how: Disparity, *, is_unstable: bool) -> list[Finding]:
    """What may be the cause, the most likely first."""
    named = _mentions(this)
    changed = _changed(this, memo)
    found: list[Finding] = []

    def suspect(cause: str, text: str) -> None:
        if all(cause != known.cause for known in found):
            found.append(Finding(cause, text))

    rounding = "the numbers differ as little as rounding makes them"
    if is_unstable:
        for cause in (RANDOMNESS, TIME):
            if cause in named:
                suspect(
                    cause, f"each execution gives another result, and its code names {named[cause]}"
                )
        if how.is_order:
            suspect(HASH_ORDER, "each execution gives the same parts in another order")
        if how.is_noise:
            suspect(FLOATING_POINT, f"each execution gives another result: {rounding}")
        return found or [Finding(RANDOMNESS, "each execution gives another result")]
    if how.is_noise:
        suspect(FLOATING_POINT, rounding)
    elif memo.code != this.code.digest:
        suspect(ACCEPTED, "the memo is of other code, which was accepted for the present one")
    if how.is_order:
        sets = f", and its code uses {named[HASH_ORDER]}" if HASH_ORDER in named else ""
        suspect(HASH_ORDER, f"the same parts come in another order{sets}")
    if changed is not None and changed.is_used:
        suspect(ENVIRONMENT, changed.text)
    for cause in (TIME, ENVIRONMENT, RANDOMNESS, HASH_ORDER, FILES):
        if cause in named:
            suspect(cause, f"its code names {named[cause]}")
    if changed is not None:
        suspect(ENVIRONMENT, changed.text)
    return found or [Finding(UNKNOWN, "executed twice now, it gave the same result both times")]


# What the code names.


def _mentions(this: Call) -> dict[str, str]:
    """By cause, what the code names that speaks for it."""
    found: dict[str, dict[str, None]] = {}
    outside = [part.text for part in this.code.parts if part.kind == "external"]
    for cause, beginnings in _NAMES.items():
        for name in outside:
            if name.startswith(beginnings):
                found.setdefault(cause, {})[name] = None
    for function in this.code.functions:
        for code in _codes(function.__code__):
            for cause, name in _named_in(code, outside):
                found.setdefault(cause, {})[name] = None
    return {cause: ", ".join(list(names)[:_MOST]) for cause, names in found.items()}


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _named_in(code: CodeType, outside: Iterable[str]) -> Iterator[tuple[str, str]]:
    has_clock = any(name.startswith(("datetime.", "pandas.")) for name in outside)
    for cause, names in _ATTRIBUTES.items():
        if cause != TIME or has_clock:
            yield from ((cause, f".{name}()") for name in code.co_names if name in names)
    for cause, names in _BUILTINS.items():
        yield from ((cause, f"{name}()") for name in code.co_names if name in names)
    operations = {instruction.opname for instruction in dis.get_instructions(code)}
    if operations & _SET_OPCODES:
        yield HASH_ORDER, "a set"


# What was installed.


class _Changed(NamedTuple):
    text: str
    is_used: bool
    """Whether the code names something of what has changed."""


def _changed(this: Call, memo: CallEnd) -> _Changed | None:
    """How the environment differs from that of the run that made the memo."""
    before = _recorded(this, memo)
    if before is None or memo.run == this.run.id:
        return None
    now: dict[str, Any] = json.loads(current_environment())
    changes: dict[str, str] = {}
    for name in ("python", "implementation", "platform", "machine", "cpus"):
        was, is_now = getattr(before, name), now[name]
        if was != is_now:
            changes[name] = f"{name} {was} → {is_now}"
    versions = {name: version for name, version, _ in before.distributions}
    present = {name: version for name, version, _ in now["distributions"]}
    for name in sorted(versions.keys() | present.keys()):
        was, is_now = versions.get(name, "absent"), present.get(name, "absent")
        if was != is_now:
            changes[name] = f"{name} {was} → {is_now}"
    if not changes:
        return None
    roots = {_root(part.text) for part in this.code.parts if part.kind == "external"} | {"python"}
    used = [name for name in changes if name in roots]
    listed = [changes[name] for name in (*used, *(n for n in changes if n not in used))]
    more = f" and {len(listed) - _MOST} more" if len(listed) > _MOST else ""
    return _Changed(
        f"since the memo was made there changed {', '.join(listed[:_MOST])}{more}", bool(used)
    )


def _root(name: str) -> str:
    """The top module of a dotted name, as distributions write it; most are named after it."""
    return name.partition(".")[0].lower().replace("_", "-")


def _recorded(this: Call, memo: CallEnd) -> Environment | None:
    try:
        return Run(this.run.store, memo.run).environment
    except TasklineageError:
        return None
