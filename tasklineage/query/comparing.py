"""Two runs, calls or values side by side: what one has, what both have, and what differs.

Everything follows from the records; values are read only where that runs no code of users.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tasklineage.errors import TasklineageError
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call, CallError
from tasklineage.query.code_differences import code_causes
from tasklineage.query.render import one_line
from tasklineage.query.runs import Run
from tasklineage.query.value_differences import (
    ABSENT,
    Side,
    is_same,
    outlined,
    readable,
    shown,
    value_cause,
    value_lines,
)

ADDED, REMOVED, CHANGED, SAME = "added", "removed", "changed", "same"
T = TypeVar("T")


class Difference(NamedTuple):
    """One thing of which one side has none, or another one; or that both have."""

    kind: str
    """Of a run: `status param python platform commit dist call`; of a call: `task argument salt
    options result status error`, and of its code as for `why`; of a value: `rows column item
    value`."""
    name: str
    """A parameter, a distribution, a column, …; of a call its task, below those that called it."""
    old: str = ""
    """A short text; empty where it was not there."""
    new: str = ""
    diff: str = ""
    """How it differs, line by line."""
    text: str = ""
    """One line for people."""
    before: Any = None
    """The call or artifact on the one side."""
    after: Any = None
    """The call or artifact on the other side."""


Found = tuple[str, Difference]


def compared_runs(a: Run, b: Run) -> Iterator[Found]:
    """How they ended, their parameters, what they executed in, and their calls."""
    yield from _texts("status", "", a.status, b.status)
    yield from _values("param", a.params.artifacts, b.params.artifacts)
    yield from _texts("python", "", a.python, b.python)
    yield from _texts("platform", "", a.platform, b.platform)
    yield from _texts("commit", "", _commit(a), _commit(b))
    yield from _installed(_distributions(a), _distributions(b))
    yield from _trees(a.roots, b.roots, "")


def compared_calls(a: Call, b: Call) -> Iterator[Found]:
    """Task, code, arguments, tracked extras, and what came of it."""
    found = [
        *_texts("task", "", a.task, b.task),
        *_codes(a, b),
        *_values("argument", a.inputs, b.inputs),
        *_extras(a, b),
    ]
    if a.key != b.key and all(side == SAME for side, _ in found):
        text = f"other options of {a.task} say what of its arguments counts (ignore=, key=)"
        found.append((CHANGED, Difference("options", a.task, text=text)))
    yield from found
    yield from _values("result", _output(a), _output(b))
    yield from _texts("status", "", _status(a), _status(b))
    yield from _texts("error", "", _error(a.error), _error(b.error))


def compared_values(a: Artifact, b: Artifact) -> Iterator[Found]:
    """The columns of tables, the items of containers, else the value as a whole."""
    if a == b:
        yield from _values("value", {"": a}, {"": b})
        return
    found = list(_members(_side(a), _side(b)))
    if all(side == SAME for side, _ in found):
        found = list(_values("value", {"": a}, {"": b}))
    yield from found


def matched(
    old: Sequence[T], new: Sequence[T], *ways: Callable[[T], Hashable]
) -> tuple[list[tuple[T, T]], list[T], list[T]]:
    """Pairs that are alike in the first way, of the others those in the second, and so on; then
    what is left of either. Each in its order, pairs in that of `new`.
    """
    pairs: dict[int, tuple[T, T]] = {}
    left, right = list(range(len(old))), list(range(len(new)))
    for way in ways:
        waiting: dict[Hashable, deque[int]] = {}
        for at in left:
            waiting.setdefault(way(old[at]), deque()).append(at)
        rest: list[int] = []
        for at in right:
            alike = waiting.get(way(new[at]))
            if alike:
                pairs[at] = old[alike.popleft()], new[at]
            else:
                rest.append(at)
        left, right = sorted(at for some in waiting.values() for at in some), rest
    return [pairs[at] for at in sorted(pairs)], [old[at] for at in left], [new[at] for at in right]


# Of runs.


def _trees(old: Sequence[Call], new: Sequence[Call], above: str) -> Iterator[Found]:
    """The calls made at one place, and below those that differ, the calls that they made."""
    ways = (lambda c: (c.task, c.key)), (lambda c: c.key), _place, (lambda c: c.task)
    pairs, gone, come = matched(old, new, *ways)
    for before, after in pairs:
        name = f"{above}{_short(after.task)}"
        found = [] if _is_one(before, after) else list(compared_calls(before, after))
        differing = [one for side, one in found if side != SAME]
        if not differing:
            yield SAME, Difference("call", name, before=before, after=after)
            continue
        text = "; ".join(one.text for one in differing)
        diff = "\n".join(one.diff for one in differing if one.diff and one.diff not in one.text)
        results = _preview(before), _preview(after)
        yield CHANGED, Difference("call", name, *results, diff, f"{name}: {text}", before, after)
        yield from _trees(before.children, after.children, f"{name} > ")
    for call in gone:
        name = f"{above}{_short(call.task)}"
        text = f"{name}({_arguments(call)}) is gone"
        yield REMOVED, Difference("call", name, _preview(call), text=text, before=call)
    for call in come:
        name = f"{above}{_short(call.task)}"
        text = f"{name}({_arguments(call)}) is new"
        yield ADDED, Difference("call", name, new=_preview(call), text=text, after=call)


def _place(call: Call) -> Hashable:
    """Task and index in a map; calls outside of one are alike only in another way."""
    position = call.position
    return call.id if position is None else (call.task, position[0])


def _is_one(a: Call, b: Call) -> bool:
    """Whether both are, or are answered by, one execution."""
    return (a.producer_id or a.id) == (b.producer_id or b.id)


def _distributions(run: Run) -> dict[str, str]:
    try:
        found = run.environment
    except TasklineageError:
        return {}
    return {} if found is None else {name: version for name, version, _ in found.distributions}


def _installed(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Found]:
    """Distributions that differ; those that do not are hundreds, and nobody asked for them."""
    if old and new:
        for name in _names(old, new):
            found = _texts("dist", name, old.get(name, ""), new.get(name, ""))
            yield from ((side, one) for side, one in found if side != SAME)


def _commit(run: Run) -> str:
    return f"{run.commit}{' and changes' if run.is_dirty else ''}"


def _short(task: str) -> str:
    return one_line(task.rpartition(".")[2])


def _arguments(call: Call) -> str:
    shown = (f"{name}={one_line(a.preview, 40)}" for name, a in call.inputs.items())
    return one_line(", ".join(shown), 120)


def _preview(call: Call) -> str:
    output = call.output
    return "" if output is None else one_line(output.preview)


# Of calls.


def _codes(a: Call, b: Call) -> Iterator[Found]:
    if a.code_version == b.code_version:
        yield SAME, Difference("code", a.code_version)
        return
    old, new = a.code, b.code
    if old is None or new is None or a.function != b.function:
        text = f"{_short(b.task)} has other code"
        yield CHANGED, Difference("code", b.task, a.code_version, b.code_version, text=text)
        return
    for cause in code_causes(old, new):
        yield CHANGED, Difference(*cause)


def _extras(a: Call, b: Call) -> Iterator[Found]:
    ours, theirs = a.extras, b.extras
    for name in _names(ours, theirs):
        yield from _texts("salt", name, ours.get(name, ""), theirs.get(name, ""))


def _output(call: Call) -> dict[str, Artifact]:
    output = call.output
    return {} if output is None else {"": output}


def _status(call: Call) -> str:
    return (call.producer or call).status


def _error(error: CallError | None) -> str:
    return "" if error is None else one_line(f"{error.type}: {error.message}", 200)


# Of values.


def _values(kind: str, old: Mapping[str, Artifact], new: Mapping[str, Artifact]) -> Iterator[Found]:
    """Artifacts by name."""
    for name in _names(old, new):
        before, after = old.get(name), new.get(name)
        if before is not None and before == after:
            preview = one_line(before.preview, 200)
            yield SAME, Difference(kind, name, preview, preview, before=before, after=after)
            continue
        sides = [None if one is None else _side(one) for one in (before, after)]
        cause = value_cause(kind, name, *sides)
        yield _bucket(before is not None, after is not None), Difference(*cause, before, after)


def _members(before: Side, after: Side) -> Iterator[Found]:
    """What tables and containers are made of; nothing of other values."""
    old, new = readable(before), readable(after)
    was, now = outlined(before, old), outlined(after, new)
    if was.get("columns") and now.get("columns"):
        yield from _texts("rows", "", f"{was['shape'][0]:,}", f"{now['shape'][0]:,}")
        yield from _columns(was["columns"], now["columns"])
    elif old is not ABSENT and type(old) is type(new) and type(old) in (dict, list, tuple):
        yield from _items(old, new)


def _columns(old: Any, new: Any) -> Iterator[Found]:
    was = {name: (dtype, digest) for name, dtype, digest in old}
    now = {name: (dtype, digest) for name, dtype, digest in new}
    for name in _names(was, now):
        (before, one), (after, other) = was.get(name, ("", b"")), now.get(name, ("", b""))
        if before and after and one == other:
            yield SAME, Difference("column", name, before, after)
        elif before == after:
            text = f"column {name!r} differs"
            yield CHANGED, Difference("column", name, before, after, text=text)
        else:
            yield from _texts("column", name, before, after)


def _items(old: Any, new: Any) -> Iterator[Found]:
    was = old if isinstance(old, dict) else dict(enumerate(old))
    now = new if isinstance(new, dict) else dict(enumerate(new))
    for key in _names(was, now):
        path = f"[{key!r}]"
        if key not in was or key not in now:
            texts = (*(shown(side[key]) if key in side else "" for side in (was, now)),)
            yield from _texts("item", path, *texts)
        elif is_same(was[key], now[key]):
            yield SAME, Difference("item", path, shown(was[key]), shown(now[key]))
        else:
            lines = list(value_lines(was[key], now[key], path))
            text = lines[0] if len(lines) == 1 else f"{path}: {len(lines)} differences"
            texts = shown(was[key]), shown(now[key])
            yield CHANGED, Difference("item", path, *texts, "\n".join(lines), text)


def _side(artifact: Artifact) -> Side:
    return Side(artifact.store, artifact.ref, artifact.outline)


# Of anything.


def _texts(kind: str, name: str, old: str, new: str) -> Iterator[Found]:
    """One text; an empty one stands for none."""
    what = f"{kind} {name}".rstrip()
    if old == new:
        if old:
            yield SAME, Difference(kind, name, old, new)
    elif old and new:
        yield CHANGED, Difference(kind, name, old, new, text=f"{what}: {old} is now {new}")
    else:
        told = f"is new: {new}" if new else f"is gone: {old}"
        yield _bucket(bool(old), bool(new)), Difference(kind, name, old, new, text=f"{what} {told}")


def _bucket(was_there: bool, is_there: bool) -> str:
    return CHANGED if was_there and is_there else REMOVED if was_there else ADDED


def _names(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> dict[Any, None]:
    """The names of both, in the order of the newer one."""
    return dict.fromkeys((*new, *old))
