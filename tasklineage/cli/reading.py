"""The commands that read: `runs`, `show`, `calls`, `logs`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any

import typer

from tasklineage import config
from tasklineage.cli import output
from tasklineage.cli.failures import guarded, message
from tasklineage.errors import ConfigError, NotFound, StoreNotFound
from tasklineage.query import find, logs
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.cells import (
    artifact_cells,
    attempt_cells,
    call_cells,
    run_cells,
    usage_cells,
)
from tasklineage.query.render import one_line, time_text
from tasklineage.query.runs import Run
from tasklineage.storage.opening import open_store
from tasklineage.storage.store import Store

StoreOption = Annotated[
    str | None, typer.Option("--store", help="URL or path of the store; else the default one")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]
IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="a ref, an id, or a unique beginning of one")
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=0, help="at most so many; 0: all")]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", help="'*' for all; else the configured one")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="a date or time in ISO 8601, or an age: 2d, 12h, 30m")
]
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CHILDREN = 50


@guarded
def runs(
    name: Annotated[str | None, typer.Option("--name", help="the run's name")] = None,
    status: Annotated[
        list[str] | None, typer.Option("--status", help="running done failed interrupted killed")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="all given must hold")] = None,
    namespace: NamespaceOption = None,
    since: SinceOption = None,
    limit: LimitOption = 20,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """List runs, newest first."""
    found = find.runs(
        name,
        status=status or None,
        tag=tag or (),
        namespace=namespace,
        since=_since(since),
        limit=limit or None,
        store=opened(store),
    )
    if json:
        output.print_json(runs=[output.run_json(run) for run in found])
    elif found:
        output.print_table([run_cells(run) for run in found], "run")
    else:
        message("no runs found")


@guarded
def calls(
    run: Annotated[str | None, typer.Option("--run", help="id of a run")] = None,
    task: Annotated[str | None, typer.Option("--task", help="name, or its last part")] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="running done hit failed caught cancelled skipped lost"),
    ] = None,
    namespace: NamespaceOption = None,
    since: SinceOption = None,
    limit: LimitOption = 50,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """List calls, newest first."""
    found = find.calls(
        task,
        status=status or None,
        run=run,
        namespace=namespace,
        since=_since(since),
        limit=limit or None,
        store=opened(store),
    )
    if json:
        output.print_json(calls=[output.call_json(call) for call in found])
    elif found:
        output.print_table([call_cells(call) for call in found], "call")
    else:
        message("no calls found")


@guarded
def show(id: IdArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """Show what is known of a run, a call or an artifact."""
    item = find.get(id, store=opened(store))
    if isinstance(item, Run):
        _show_run(item, json)
    elif isinstance(item, Call):
        _show_call(item, json)
    else:
        _show_artifact(item, json)


@guarded
def log(
    id: IdArgument,
    stream: Annotated[
        str | None, typer.Option("--stream", help="stdout or stderr; else both")
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Print what a call, or each call of a run, has printed."""
    if stream not in (None, *logs.STREAMS):
        raise ConfigError(f"--stream is stdout or stderr, not {stream}")
    item = find.get(id, store=opened(store))
    if isinstance(item, Artifact):
        raise NotFound(f"{id} is an artifact: only runs and calls have logs")
    printed = (call for call in item.calls if not call.hit) if isinstance(item, Run) else (item,)
    entries = logs.entries(printed, logs.STREAMS if stream is None else (stream,))
    if json:
        output.print_json(logs=[output.log_json(entry) for entry in entries])
    elif isinstance(item, Run):
        print(logs.joined(entries), end="")
    else:
        for entry in entries:
            print(entry.text, end="" if entry.text.endswith("\n") else "\n")


def opened(store: str | None, *, allow_pickle: bool = False) -> Store:
    """The store that a command reads. It runs no code that is in it, unless that is allowed.

    Raises
    ------
    StoreNotFound
        It is not there: reading makes no store.
    """
    try:
        return open_store(store, allow_pickle=allow_pickle, create=False)
    except StoreNotFound:
        if store is not None:
            raise
        raise StoreNotFound(
            f"no store at {config.default_store()}: nothing was recorded here yet. "
            "Name another with --store or TASKLINEAGE_STORE."
        ) from None


def _show_run(run: Run, json: bool) -> None:
    if json:
        calls = [output.call_json(call) for call in run.roots]
        again = [output.verification_json(one) for one in run.verifications]
        details = output.run_details(run)
        output.print_json(kind="run", run=details, roots=calls, verifications=again)
        return
    details = output.run_details(run)
    pairs = run_cells(run) | {"namespace": run.namespace, "user": f"{run.user}@{run.host}"}
    pairs |= {name: str(details[name]) for name in ("executor", "python", "commit")}
    pairs["command"] = " ".join(run.argv)
    if run.verified:
        pairs["verified"] = f"{run.verified}, of these differing: {run.differing}"
    output.print_pairs((pairs | _prefixed("param ", run.params.artifacts)).items())
    _print_error(run.error)
    _print_differing(run)
    _print_calls("calls", run.roots)


def _show_call(call: Call, json: bool) -> None:
    if json:
        output.print_json(kind="call", call=output.call_details(call))
        return
    producer, result = call.producer, call.output
    pairs = call_cells(call) | {
        "run": f"{call.run.id} {call.run.name}",
        "computed by": "" if producer is None else f"{producer.id} {time_text(producer.started)}",
        "accepted": f"made under code version {call.code_version}" if call.accepted else "",
        **usage_cells(call),
        "changed": ", ".join(call.mutated),
        "untracked": ", ".join(call.untracked),
        "reads": ", ".join(call.reads),
    }
    pairs |= _prefixed("arg ", call.inputs)
    pairs |= {} if result is None else _prefixed("", {"result": result})
    output.print_pairs(pairs.items())
    _print_error(call.error)
    if len(call.attempts) > 1:
        print("\nattempts")
        output.print_table([attempt_cells(attempt) for attempt in call.attempts])
    _print_calls("children", call.children)


def _show_artifact(artifact: Artifact, json: bool) -> None:
    producers = list(islice(artifact.producers, _CHILDREN))
    consumers = list(islice(artifact.consumers, _CHILDREN))
    if json:
        output.print_json(
            kind="artifact",
            artifact=output.artifact_json(artifact),
            producers=[output.call_json(call) for call in producers],
            consumers=[output.call_json(call) for call in consumers],
        )
        return
    output.print_pairs(artifact_cells(artifact).items())
    _print_calls("producers", producers)
    _print_calls("consumers", consumers)


def _prefixed(prefix: str, artifacts: Any) -> dict[str, str]:
    return {f"{prefix}{name}": f"{a.type}: {one_line(a.preview)}" for name, a in artifacts.items()}


def _print_error(error: Any) -> None:
    if error is not None:
        print(f"\n{error.traceback.rstrip() or f'{error.type}: {error.message}'}")


def _print_differing(run: Run) -> None:
    """What was executed again and came out otherwise, and what could not be executed again."""
    some = [one for one in run.verifications if one.status != "same"]
    for one in some:
        cause = f" ({one.cause})" if one.cause else ""
        print(f"\n{one.status}{cause}  {one.task}  {one.call_id}\n  {one_line(one.text)}")


def _print_calls(title: str, calls: Iterable[Call]) -> None:
    some = list(islice(calls, _CHILDREN + 1))
    if some:
        print(f"\n{title}")
        output.print_table([call_cells(call) for call in some[:_CHILDREN]], "call")
    if len(some) > _CHILDREN:
        message(f"only the first {_CHILDREN} are shown; --json shows all")


def _since(text: str | None) -> str | timedelta | None:
    age = None if text is None else _AGE.fullmatch(text.strip())
    return text if age is None else timedelta(**{_UNIT[age[2]]: float(age[1])})
