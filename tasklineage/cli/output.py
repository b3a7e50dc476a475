"""What commands print: tables for people, JSON for programs.

JSON answers carry `"version": 1`; fields may be added to a version, never changed or removed.
Moments are ISO 8601 in UTC. Nothing is unpickled for any of it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tasklineage.errors import TasklineageError
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Attempt, Call, CallError
from tasklineage.query.ids import shortened
from tasklineage.query.render import one_line
from tasklineage.query.runs import Run
from tasklineage.query.verifications import Verification

JSON_VERSION = 1
_SCALARS = frozenset({"int", "float", "str", "bool", "NoneType"})
Json = dict[str, Any]


def print_json(**answer: Any) -> None:
    """Print one answer as JSON, its version first."""
    print(json.dumps({"version": JSON_VERSION, **answer}, ensure_ascii=False, indent=2))


def run_json(run: Run) -> Json:
    """A run, without its calls."""
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "started": _time(run.started),
        "ended": _time(run.ended),
        "executed": run.executed,
        "hits": run.hits,
        "failed": run.failed,
        "tags": list(run.tags),
        "namespace": run.namespace,
        "user": run.user,
        "host": run.host,
    }


def run_details(run: Run) -> Json:
    """A run with what its record says."""
    return run_json(run) | {
        "params": {name: artifact_json(a) for name, a in run.params.artifacts.items()},
        "verified": run.verified,
        "differing": run.differing,
        "parent": None if run.parent is None else run.parent.id,
        "error": _error(run.error),
        "pid": run.pid,
        "argv": list(run.argv),
        "executor": run.executor,
        "commit": run.commit,
        "python": run.python,
        "platform": run.platform,
    }


def call_json(call: Call) -> Json:
    """A call as the catalog has it."""
    return {
        "id": call.id,
        "task": call.task,
        "status": call.status,
        "run": call.run_id,
        "parent": call.parent_id,
        "producer": call.producer_id,
        "started": _time(call.started),
        "ended": _time(call.ended),
    }


def call_details(call: Call) -> Json:
    """A call with what its record says; a hit with what its producer's says."""
    output = call.output
    return call_json(call) | {
        "key": call.key,
        "position": None if call.position is None else list(call.position),
        "tags": list(call.tags),
        "inputs": {name: artifact_json(artifact) for name, artifact in call.inputs.items()},
        "output": None if output is None else artifact_json(output),
        "error": _error(call.error),
        "attempts": [_attempt(attempt) for attempt in call.attempts],
        "worker": call.worker,
        "cpu_time": call.cpu_time,
        "peak_memory": call.peak_memory,
        "peak_gpu_memory": call.peak_gpu_memory,
        "children": [child.id for child in call.children],
        "mutated": list(call.mutated),
        "untracked": list(call.untracked),
        "reads": list(call.reads),
        "source": call.source,
    }


def artifact_json(artifact: Artifact) -> Json:
    """A value's metadata; a plain scalar with its value."""
    found: Json = {
        "digest": artifact.digest,
        "type": artifact.type,
        "nbytes": artifact.nbytes,
        "preview": artifact.preview,
    }
    if artifact.type in _SCALARS and artifact.is_inline:
        with contextlib.suppress(TasklineageError):  # it says that it is one
            value = artifact.value
            if type(value).__name__ in _SCALARS:
                found["value"] = value
    return found


def verification_json(one: Verification) -> Json:
    """What came of a hit that was executed again."""
    return {
        "id": one.id,
        "call": one.call_id,
        "task": one.task,
        "status": one.status,
        "cause": one.cause,
        "text": one.text,
        "expected": one.expected,
        "found": one.found,
        "error": _error(one.error),
        "at": _time(one.at),
    }


def log_json(entry: Any) -> Json:
    """What one attempt wrote to one stream."""
    return {
        "call": entry.call.id,
        "task": entry.call.task,
        "attempt": entry.attempt,
        "stream": entry.stream,
        "text": entry.text,
    }


def print_table(rows: Sequence[Mapping[str, str]], ids: str = "") -> None:
    """Print rows of equal columns; the column named `ids` is shortened where that is unambiguous.

    On a terminal it is fitted to the width; elsewhere no cell is ever cut.
    """
    if not rows:
        return
    if ids:
        pairs = zip(rows, shortened([row[ids] for row in rows]), strict=True)
        rows = [{**row, ids: text} for row, text in pairs]
    cells = [[one_line(cell) for cell in row.values()] for row in rows]
    if sys.stdout.isatty():
        _print_rich(list(rows[0]), cells)
    else:
        _print_aligned(list(rows[0]), cells)


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


def encodable(text: str) -> str:
    """The text with what stdout cannot write as escapes."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def is_json_like(value: Any) -> bool:
    """Whether JSON says all of the value: scalars, lists and dicts with text keys."""
    if value is None or type(value) in (bool, int, float, str):
        return True
    if type(value) in (list, tuple):
        return all(map(is_json_like, value))
    if type(value) is dict:
        return all(type(key) is str and is_json_like(item) for key, item in value.items())
    return False


def _print_aligned(head: list[str], cells: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    for row in (head, *cells):
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _print_rich(head: list[str], cells: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in head:
        table.add_column(name, no_wrap=name not in _WRAPPED, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


_WRAPPED = frozenset({"name", "task", "tags", "preview"})
_STYLES = {
    "done": "green", "hit": "cyan", "running": "yellow", "caught": "yellow", "failed": "red",
    "killed": "red", "lost": "red", "timeout": "red", "interrupted": "red",
}  # fmt: skip


def _attempt(attempt: Attempt) -> Json:
    return {
        "index": attempt.index,
        "status": attempt.status,
        "started": _time(attempt.started),
        "ended": _time(attempt.ended),
        "error": _error(attempt.error),
    }


def _error(error: CallError | None) -> Json | None:
    return None if error is None else error._asdict()


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
