"""Why a call executed: what of it differs from the nearest earlier call of its task.

Everything follows from the records of the store. No code of users is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tasklineage.errors import ConfigError, NotFound
from tasklineage.query import find
from tasklineage.query.calls import Call
from tasklineage.query.causes import Cause
from tasklineage.query.code_differences import code_causes
from tasklineage.query.earlier import Records, arguments_of, nearest
from tasklineage.query.ids import moment
from tasklineage.query.render import (
    html_folded,
    html_heading,
    html_status,
    html_table,
    html_text,
    one_line,
    time_text,
)
from tasklineage.query.runs import Run
from tasklineage.query.value_differences import argument_cause
from tasklineage.storage.records import (
    CANCELLED,
    DONE,
    SKIPPED,
    CallEnd,
    Code,
    Miss,
    decode_miss,
)
from tasklineage.storage.store import Store

_SHOWN = 5
_LISTED = 100
_UNMADE = frozenset({SKIPPED, CANCELLED})
_CONDITIONS = {
    "env": "the environment variable",
    "dist": "the installed version of",
    "code": "the tracked code of",
    "file": "the file",
    "dir": "the folder",
    "read": "the file that was read,",
    "module": "the source of the module",
}
_UNREADABLE = {
    "missing": "what the memo needs is gone",
    "corrupt": "what the memo needs is damaged",
    "undecodable": "the stored result cannot be decoded here",
}


class Planned(NamedTuple):
    """A call that is not made: what is said of it is what would be."""

    task: str
    store: Store
    status: str = "would execute"
    id: str = ""


class Why:
    """Why a call executed. True if it did for some cause; false for a hit.

    Of a run it has no causes but `groups`: the executed calls, those of equal causes together.
    """

    __slots__ = ("_previous", "causes", "groups", "subject")

    def __init__(
        self,
        subject: Call | Run | Planned,
        previous: bytes | None = None,
        causes: Iterable[Cause] = (),
        groups: Iterable[Group] = (),
    ) -> None:
        self.subject = subject
        """The call or run that was asked about, or the call that would be made."""
        self._previous = previous
        self.causes = tuple(causes)
        """Every component that differs from `previous`; empty for a hit and for a run."""
        self.groups = tuple(groups)
        """Of a run: its executed calls by cause, most calls first."""

    @property
    def call(self) -> Call | None:
        """The call; None where it is about a run, or about a call that was not made."""
        return self.subject if isinstance(self.subject, Call) else None

    @property
    def previous(self) -> Call | None:
        """The call it is compared with; of a hit, the one that computed its result."""
        if self._previous is None:
            return None
        rows = self.subject.store.catalog.calls_of([self._previous])
        return Call(self.subject.store, rows[self._previous]) if self._previous in rows else None

    def __bool__(self) -> bool:
        return bool(self.causes or self.groups)

    def __repr__(self) -> str:
        return f"<Why {one_line(self.lines()[0], 200)}>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """What it says, for people."""
        return _run_lines(self) if isinstance(self.subject, Run) else _call_lines(self)

    def to_dict(self) -> dict[str, Any]:
        """What it says, for programs: fields may be added, never changed or removed."""
        if isinstance(self.subject, Run):
            return {
                "kind": "run",
                "run": self.subject.id,
                "executed": sum(len(group) for group in self.groups),
                "hits": self.subject.hits,
                "groups": [group.to_dict() for group in self.groups],
            }
        return {
            "kind": "call",
            "call": self.subject.id or None,
            "task": self.subject.task,
            "status": self.subject.status,
            "previous": None if self._previous is None else self._previous.hex(),
            "causes": [cause.to_dict() for cause in self.causes],
        }

    def _repr_html_(self) -> str:
        if isinstance(self.subject, Run):
            heading = html_heading(f"why {self.subject.name}", _counted(self))
            return heading + "".join(group.html() for group in self.groups)
        call = self.subject
        heading = html_heading(f"why {call.task}", html_status(call.status))
        return heading + html_text(_compared(self)) + _causes_html(self.causes)


class Group(Sequence[Why]):
    """Executed calls of one run that have the same causes; each is a `Why`."""

    def __init__(self, whys: Sequence[Why]) -> None:
        self._whys = tuple(whys)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The causes of the first; arguments have other values in the others."""
        return self._whys[0].causes

    @property
    def tasks(self) -> dict[str, int]:
        """How many calls there are of each task."""
        found: dict[str, int] = {}
        for why in self._whys:
            task = why.call.task if why.call is not None else ""
            found[task] = found.get(task, 0) + 1
        return found

    def __getitem__(self, index: Any) -> Any:
        return self._whys[index]

    def __len__(self) -> int:
        return len(self._whys)

    def __repr__(self) -> str:
        return f"<{len(self)} calls: {one_line(self.title(), 100)}>"

    def title(self) -> str:
        """How many calls of what."""
        return ", ".join(
            task if count == 1 else f"{task} ({count:,} calls)"
            for task, count in self.tasks.items()
        )

    def to_dict(self) -> dict[str, Any]:
        """As `Why.to_dict`; of the calls the first hundred."""
        ids = [why.subject.id for why in self._whys[:_LISTED]]
        first = self._whys[0].to_dict()
        return {
            "count": len(self),
            "tasks": self.tasks,
            "calls": ids,
            "previous": first["previous"],
            "causes": first["causes"],
        }

    def html(self) -> str:
        """As a piece of HTML."""
        return html_text(self.title()) + _causes_html(self.causes)


def why(x: Any, /, *, store: Any = None) -> Why:
    """Why a call executed, or every call of a run: each component that is not what it was.

    Parameters
    ----------
    x
        A call or run, its id, or the beginning of one.

    Raises
    ------
    NotFound, AmbiguousId
        An id names nothing, or several things.
    StoreNotFound
        There is no store where `store=` says.

    Notes
    -----
    The call is compared with the nearest earlier one of its task: that of the same key, else that
    of which the fewest components differ, of several the newest.

    Examples
    --------
    >>> import tasklineage as tl
    >>> @tl.task
    ... def area(width: int, height: int) -> int:
    ...     return width * height
    >>> area(2, 3), area(2, 4)
    (6, 8)
    >>> why(area.calls()[0]).causes[0].text
    'argument height: 3 is now 4'
    """
    subject = find.get(x, store=store) if isinstance(x, str) else getattr(x, "call", x)
    if isinstance(subject, Run):
        return _why_run(subject)
    if isinstance(subject, Call):
        return _why_call(Records(subject.store), subject)
    if isinstance(x, str):
        raise NotFound(f"{x} is an artifact: only calls and runs have a why")
    raise ConfigError(f"why takes a call, a run or an id, not a {type(x).__name__}")


def _why_run(run: Run) -> Why:
    records = Records(run.store)
    groups: dict[Any, list[Why]] = {}
    for call in run.calls:
        if not call.hit and call.status not in _UNMADE:
            found = _why_call(records, call)
            groups.setdefault(_signature(found.causes), []).append(found)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return Why(run, groups=[Group(group) for group in ordered])


def _signature(causes: Iterable[Cause]) -> tuple[Any, ...]:
    """What is equal for calls that executed for the same cause."""
    return tuple(
        (c.kind, c.name) if c.kind == "argument" else (c.kind, c.name, c.old, c.new) for c in causes
    )


def _why_call(records: Records, call: Call) -> Why:
    if call.producer_id is not None:
        return Why(call, bytes.fromhex(call.producer_id))
    record = records.end(bytes.fromhex(call.id))
    if record is None:
        text = f"the call is {call.status}: what it was given is recorded when it is over"
        return Why(call, causes=[Cause("status", call.status, text=text)])
    if record.status in _UNMADE:
        text = f"the call was {record.status}: it did not execute"
        return Why(call, causes=[Cause("status", record.status, text=text)])
    return Why(call, *explained(records, record))


def explained(records: Records, record: CallEnd) -> tuple[bytes | None, list[Cause]]:
    """The call that an executed one is compared with, and every cause of its execution."""
    miss = decode_miss(record.miss)
    if miss is not None:
        return miss.memo, _refused(records, record, records.end(miss.memo), miss)
    previous = nearest(records, record)
    if previous is None:
        told = " but those of the same map" if record.position is not None else ""
        text = f"first call of {record.task}: there is no earlier one{told}"
        return None, [Cause("first", record.task, text=text)]
    if previous.key == record.key:
        return previous.id, [_no_memo(records.store, record, previous)]
    return previous.id, differences(records, record, previous)


def differences(records: Records, this: CallEnd, other: CallEnd) -> list[Cause]:
    """Every component of the key of `this` that differs from that of `other`."""
    causes: list[Cause] = []
    if this.code != other.code:
        old, new = records.code(other.code), records.code(this.code)
        if old is not None and new is not None:
            causes += code_causes(old, new)
        else:
            text = f"the code of {this.task} is not what it was; its parts were not recorded"
            causes.append(Cause("code", this.task, text=text))
    causes += _arguments(records.store, this, other)
    causes += _extras(records, this, other)
    if not causes:
        text = f"other options of {this.task} say what of its arguments counts (ignore=, key=)"
        causes.append(Cause("options", this.task, text=text))
    return causes


def _arguments(store: Store, this: CallEnd, other: CallEnd) -> Iterator[Cause]:
    new, old = arguments_of(this), arguments_of(other)
    for name in dict.fromkeys((*new, *old)):
        now, was = new.get(name), old.get(name)
        if now is not None and was is not None:
            if now.counts != was.counts:
                told = "counts now" if now.counts else "is ignored now"
                yield Cause("options", name, text=f"argument {name} {told} (ignore=)")
            if not now.counts or not was.counts or now.ref[0] == was.ref[0]:
                continue
        yield argument_cause(store, name, was, now)


def _extras(records: Records, this: CallEnd, other: CallEnd) -> Iterator[Cause]:
    new, old = dict(this.salt), dict(other.salt)
    for name in dict.fromkeys((*new, *old)):
        was, now, title = old.get(name), new.get(name), name.replace(":", ".").rstrip(".")
        if was and now and was != now:
            yield from _changed_extra(records, title, was, now)
        elif was != now:
            told = "counts now" if now else "counts no more"
            texts = _recorded_text(records, was), _recorded_text(records, now)
            yield Cause("salt", title, *texts, "", f"tracked extra {title} {told}")


def _changed_extra(records: Records, name: str, was: bytes, now: bytes) -> Iterator[Cause]:
    old, new = records.code(was), records.code(now)
    title = f"tracked extra {name}"
    if old is None or new is None:
        yield Cause("salt", name, was.hex(), now.hex(), "", f"{title} is not what it was")
    elif _is_text(old) and _is_text(new):
        texts = old.parts[0][3], new.parts[0][3]
        yield Cause("salt", name, *texts, "", f"{title}: {texts[0]} is now {texts[1]}")
    else:
        for cause in code_causes(old, new):
            yield cause._replace(kind="salt", name=name, text=f"{title}: {cause.text}")


def _is_text(code: Code) -> bool:
    """Whether it stands for a variable of the environment, or an installed version."""
    return len(code.parts) == 1 and code.parts[0][0] == "value"


def _recorded_text(records: Records, digest: bytes | None) -> str:
    found = records.code(digest) if digest else None
    return found.parts[0][3] if found is not None and _is_text(found) else ""


def _refused(records: Records, this: CallEnd, memo: CallEnd | None, miss: Miss) -> list[Cause]:
    """Why the memo that there was did not answer."""
    kind, name, detail = miss.kind, miss.name, miss.detail
    if kind == "expired":
        at = "" if memo is None else time_text(moment(memo.ended))
        if name:
            text = f"the memo of {at} has expired: {detail}"
        else:
            at = time_text(moment(float(detail.removeprefix("until ") or 0)))
            text = f"a memo of a call below it has expired: it held until {at}"
        return [Cause(kind, name or this.task, at, "", "", text)]
    if kind == "refreshed":
        return [Cause(kind, name, text=f"the run was to execute {name} again (refresh=)")]
    if kind == "version":
        return _other_version(records, this, name, detail)
    if kind in _CONDITIONS:
        told = _recorded_text(records, _digest(detail)) if kind in ("env", "dist") else ""
        name = name.replace(":", ".").rstrip(".") if kind == "code" else name
        text = f"{_CONDITIONS[kind]} {name} is not what it was{told and f': {told}'}"
        return [Cause(kind, name, told or detail, "", "", text)]
    if kind in _UNREADABLE:
        return [Cause(kind, name or this.task, text=f"{_UNREADABLE[kind]}: {detail}")]
    return [Cause(kind, name, detail, "", "", f"{kind} {name} {detail}".strip())]


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _other_version(records: Records, this: CallEnd, task: str, code: str) -> list[Cause]:
    """A task below has other code: what differs in it, if it was called again."""
    old = records.code(bytes.fromhex(code))
    for new in _versions_below(records, this, task):
        found = records.code(new)
        if old is not None and found is not None and new.hex() != code:
            return code_causes(old, found)
    text = f"task {task}, which was called below it, has other code now, or is not there"
    return [Cause("task", task, code, "", "", text)]


def _versions_below(records: Records, this: CallEnd, task: str) -> Iterator[bytes]:
    """Code versions of the calls of a task below a call."""
    store, level, seen = records.store, [this.id], 0
    while level and seen < 1000:
        rows = store.catalog.children_of(level, 200)
        seen += len(rows)
        yield from (one.code for one in records.read(rows) if one.task == task)
        level = [row.id for row in rows]


def _no_memo(store: Store, this: CallEnd, previous: CallEnd) -> Cause:
    """Why an earlier call of the same key is no memo, or none that counts."""
    task, when = this.task, time_text(moment(previous.ended))
    if previous.mutated:
        names = ", ".join(previous.mutated)
        text = f"the call of {when} changed {names} in place, so it is no memo"
        return Cause("mutated", names, text=text)
    if previous.volatile:
        child, _, reason = previous.volatile.partition(": ")
        text = f"the call of {when} is no memo: {child} below it was {reason}"
        return Cause("volatile", child, reason, "", "", text)
    if previous.status != DONE:
        error = "" if previous.error is None else f": {previous.error[0]}: {previous.error[1]}"
        text = f"the call of {when} {previous.status}{one_line(error, 100)}"
        return Cause("status", previous.status, text=f"{text}; only what is done is a memo")
    if not previous.memo or not this.memo:
        return Cause("memo", task, text=f"{task} has memo=False: it executes at every call")
    at = store.catalog.forgotten(this.key)
    if at is not None and previous.ended < at:
        text = f"the memo of {when} was forgotten at {time_text(moment(at))}"
        return Cause("forgotten", task, text=text)
    if previous.ended > this.started:
        return Cause("status", "running", text="the same call was executing at the same time")
    text = f"the memo of {when} was not found, or was not asked (rerun, or a damaged record)"
    return Cause("memo", task, text=text)


# For people.


def _call_lines(found: Why) -> list[str]:
    call = found.subject
    title = f"{call.task} {call.status}"  # type: ignore[union-attr]  # not of a run
    if len(found.causes) == 1:
        first = found.causes[0]
        return [f"{title}: {first.text}", *_block(first), *_footer(found)]
    if not found.causes:
        return [f"{title}: {_compared(found)}"]
    lines = [f"{title}: {len(found.causes)} causes"]
    for cause in found.causes:
        lines += [f"  {cause.text}", *_block(cause)]
    return lines + _footer(found)


def _block(cause: Cause) -> list[str]:
    lines = cause.diff.splitlines()
    if len(lines) == 1 and lines[0] in cause.text:
        return []
    return [f"    {line}" for line in lines]


def _footer(found: Why) -> list[str]:
    return [f"  {_compared(found)}"] if found.previous is not None else []


def _compared(found: Why) -> str:
    previous = found.previous
    if previous is None:
        return ""
    verb = "compared with" if found.causes else "answered with the result of"
    told = f"{verb} call {previous.id} of {time_text(previous.started)}"
    if found.call is not None and found.call.accepted:
        told += ", whose code was accepted for that of today"
    return told


def _counted(found: Why) -> str:
    executed, hits = sum(len(group) for group in found.groups), found.subject.hits  # type: ignore[union-attr]
    return f"{executed:,} executed, {hits:,} hits"


def _run_lines(found: Why) -> list[str]:
    run = found.subject
    lines = [f"run {run.id} ({run.name}): {_counted(found)}"]  # type: ignore[union-attr]
    for group in found.groups:
        lines.append(f"  {group.title()}")
        for cause in group.causes:
            varies = len(group) > 1 and cause.kind == "argument"
            told = f"argument {cause.name} has other values" if varies else cause.text
            lines.append(f"    {told}")
            if not varies:
                lines += [f"  {line}" for line in _block(cause)]
    return lines


def _causes_html(causes: Sequence[Cause]) -> str:
    if not causes:
        return ""
    table = html_table([{"cause": cause.text} for cause in causes])
    return table + "".join(html_folded(c.name, c.diff) for c in causes if c.diff)
