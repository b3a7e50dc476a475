"""The commands that ask where things came from: `whence`, `lineage`, `graph`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from tasklineage.cli import output
from tasklineage.cli.failures import guarded
from tasklineage.cli.reading import JsonOption, StoreOption, opened
from tasklineage.errors import ConfigError, CorruptObject, MissingObject
from tasklineage.query import history
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.cells import artifact_cells
from tasklineage.query.lineage import Edge, Lineage, Node, id_of
from tasklineage.query.render import duration_text, one_line, time_text
from tasklineage.query.runs import Run

DepthOption = Annotated[
    int | None, typer.Option("--depth", min=0, help="how many edges to follow; else all")
]
LimitOption = Annotated[
    int, typer.Option("--limit", "-n", min=0, help="at most so many calls; 0: all")
]
_TAKERS = 5


class Format(StrEnum):
    """How a graph is printed."""

    text = "text"
    mermaid = "mermaid"
    dot = "dot"
    svg = "svg"
    json = "json"


class Direction(StrEnum):
    """Which way to look."""

    up = "up"
    down = "down"
    both = "both"


@guarded
def whence(
    what: Annotated[
        str, typer.Argument(metavar="PATH|ID", help="a file, or an id or digest or its beginning")
    ],
    depth: DepthOption = None,
    limit: LimitOption = history.LIMIT,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Tell where a file or value came from: the call, its code, inputs and environment."""
    found = history.whence(what, depth=depth, limit=limit or None, store=opened(store))
    maker = _maker(found)
    if json:
        run = None if maker is None else output.run_details(maker.run)
        output.print_json(
            kind="whence",
            call=None if maker is None else output.call_details(maker),
            run=run,
            **_lineage_json(found),
        )
        return
    if isinstance(found.subject, Artifact):
        output.print_pairs(artifact_cells(found.subject).items())
        print()
    if maker is not None:
        _print_maker(maker, found)
    _print_counts(found)
    if isinstance(found.subject, Artifact) and not found.counts:
        _print_takers(found.subject)
    if found.edges:
        print("\ncame from")
        _print_text(found)


@guarded
def lineage(
    what: Annotated[str, typer.Argument(metavar="ID|PATH", help="an id, a digest or a file")],
    direction: Annotated[
        Direction, typer.Option("--direction", "-d", help="what it came from, or was made of it")
    ] = Direction.up,
    depth: DepthOption = None,
    limit: LimitOption = history.LIMIT,
    form: Annotated[Format, typer.Option("--format", "-f")] = Format.text,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show what something came from, or what was made of it, across runs."""
    found = history.lineage(
        what, direction.value, depth=depth, limit=limit or None, store=opened(store)
    )
    _print(found, Format.json if json else form)


@guarded
def graph(
    what: Annotated[str, typer.Argument(metavar="RUN|CALL", help="an id or its beginning")],
    form: Annotated[Format, typer.Option("--format", "-f")] = Format.text,
    limit: LimitOption = history.LIMIT,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show the calls of a run as a graph, or what a call came from."""
    item = history.subject_of(what, opened(store))
    if isinstance(item, Artifact):
        raise ConfigError(f"{what} is an artifact: only runs and calls have graphs; see lineage")
    most = limit or None
    found = item.graph(limit=most) if isinstance(item, Run) else history.lineage(item, limit=most)
    _print(found, Format.json if json else form)


def _print(found: Lineage, form: Format) -> None:
    if form is Format.json:
        output.print_json(kind="lineage", **_lineage_json(found))
    elif form is Format.mermaid:
        print(found.to_mermaid(), end="")
    elif form is Format.dot:
        print(found.to_dot(), end="")
    elif form is Format.svg:
        print(found.to_svg())
    else:
        _print_counts(found)
        _print_text(found)


def _print_text(found: Lineage) -> None:
    for line in found.to_text().splitlines():
        print(output.encodable(line))


def _print_counts(found: Lineage) -> None:
    """The producers of a value that too many calls make to say where it came from."""
    if not found.edges and found.counts:
        print("given by")
        for task, count in found.counts.items():
            print(f"  {task}  {count:,} {'call' if count == 1 else 'calls'}")


def _print_takers(artifact: Artifact) -> None:
    """To whom a value was given that no call has made."""
    takers = list(islice(artifact.consumers, _TAKERS + 1))
    print("no call has made it; it was given to")
    for call in takers[:_TAKERS]:
        print(f"  {call.id}  {one_line(call.task)}  {time_text(call.started)}")
    if len(takers) > _TAKERS:
        print("  …")


def _maker(found: Lineage) -> Call | None:
    """The call that computed what was asked about; of several the first: others passed it on."""
    subject = found.subject
    if isinstance(subject, Run) or (isinstance(subject, Artifact) and not found.edges):
        return None
    if isinstance(subject, Call):
        return subject
    makers = [e.producer for e in found.edges if e.via == "result" and isinstance(e.producer, Call)]
    return min(makers, key=lambda call: call.id, default=None)


def _print_maker(call: Call, found: Lineage) -> None:
    computed = call.producer or call
    run = computed.run
    print("computed by")
    pairs = {
        "call": f"{computed.id}  {one_line(computed.task)}  {computed.status}",
        "hit": f"{call.id}  {time_text(call.started)}" if call is not computed else "",
        "started": time_text(computed.started),
        "took": duration_text(computed.started, computed.ended),
        "run": f"{run.id}  {one_line(run.name)}",
    }
    _print_indented(pairs)
    if call.inputs:
        print("\ninputs")
        _print_indented(_inputs(computed, found))
    if call.source:
        print("\ncode")
        for line in call.source.rstrip().splitlines():
            print(output.encodable(f"  {line}".rstrip()))
    print("\nenvironment")
    _print_indented(_environment(run))


def _inputs(call: Call, found: Lineage) -> dict[str, str]:
    """What the call was given, and from which call each came, where one did."""
    shown: dict[str, str] = {}
    for name, artifact in call.inputs.items():
        makers = {
            edge.producer.task.rpartition(".")[2]: None
            for edge in found.edges
            if edge.consumer == call
            and isinstance(edge.producer, Call)
            and re.match(rf"{re.escape(name)}(\W|$)", edge.path)
        }
        origin = f"   <- {one_line(', '.join(makers), 60)}" if makers else ""
        shown[name] = f"{one_line(f'{artifact.type}: {artifact.preview}', 60)}{origin}"
    return shown


def _environment(run: Run) -> dict[str, str]:
    """What the run was begun with, and what it executed in, as far as that was recorded."""
    try:
        found = run.environment
    except (MissingObject, CorruptObject):
        found = None
    shown = {
        "user": f"{run.user}@{run.host}",
        "python": f"{run.python} on {run.platform}",
        "commit": f"{run.commit}{' and changes' if run.is_dirty else ''}" if run.commit else "",
        "command": one_line(" ".join(run.argv), 200),
    }
    if found is None:
        return shown
    changed = f", changed: {', '.join(found.changed)}" if found.dirty else ""
    return shown | {
        "python": f"{found.python} ({found.implementation}) on {found.platform}, {found.machine}",
        "commit": one_line(f"{found.commit}{changed}", 200),
        "installed": f"{len(found.distributions)} distributions: tasklineage env {run.id}",
    }


def _print_indented(pairs: dict[str, str]) -> None:
    output.print_pairs((f"  {name}", output.encodable(value)) for name, value in pairs.items())


def _lineage_json(found: Lineage) -> dict[str, Any]:
    return {
        "subject": _subject_json(found.subject),
        "cut": found.is_cut,
        "counts": found.counts,
        "nodes": [_node_json(node) for node in found.nodes],
        "edges": list(_edges_json(found.edges)),
    }


def _subject_json(subject: Run | Node) -> dict[str, str]:
    if isinstance(subject, Run):
        return {"kind": "run", "id": subject.id}
    return {"kind": _kind(subject), "id": id_of(subject)}


def _node_json(node: Node) -> dict[str, Any]:
    shown = output.call_json(node) if isinstance(node, Call) else output.artifact_json(node)
    return {"kind": _kind(node), "id": id_of(node), **shown}


def _edges_json(edges: tuple[Edge, ...]) -> Iterator[dict[str, str]]:
    for edge in edges:
        ends = {"producer": id_of(edge.producer), "consumer": id_of(edge.consumer)}
        yield {**ends, "path": edge.path, "via": edge.via, "digest": edge.digest}


def _kind(node: Node) -> str:
    return "call" if isinstance(node, Call) else "artifact"
