"""The commands for names that move: `tag`, and `refs` with `reflog` and `untag`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tasklineage.cli import output
from tasklineage.cli.failures import guarded, message
from tasklineage.cli.reading import IdArgument, JsonOption, StoreOption, opened
from tasklineage.errors import ConfigError
from tasklineage.query import tagging
from tasklineage.query.ids import DIGEST_TAG
from tasklineage.query.refs import RefVersion, ref_cells
from tasklineage.storage.refs import DAMAGED

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="a name such as model/prod")]
MessageOption = Annotated[str, typer.Option("--message", "-m", help="why; kept with the version")]

app = typer.Typer(
    help="List refs: names that point to runs, calls and artifacts.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@guarded
def tag(
    id: IdArgument,
    name: NameArgument,
    why: MessageOption = "",
    expected: Annotated[
        str | None,
        typer.Option("--expected", help="move it only from this id; 'none': only a new one"),
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Let a ref point to a run, call or artifact. ID may be another ref."""
    wanted = tagging.ANYTHING if expected is None else None if expected == "none" else expected
    made = tagging.tag(id, name, message=why, expected=wanted, store=opened(store))
    _tell(made, json)


@app.callback(invoke_without_command=True)
@guarded
def refs(
    context: typer.Context,
    pattern: Annotated[
        str | None, typer.Option("--match", help="only names that fit, as 'model/*'")
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """List refs: names that point to runs, calls and artifacts."""
    if context.invoked_subcommand is None:
        _list(tagging.refs(pattern, store=opened(store)), "refs", json)


@app.command("reflog")
@guarded
def reflog(name: NameArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """List what a ref has pointed to, newest first."""
    _list(tagging.reflog(name, store=opened(store)), "versions", json)


@app.command("untag")
@guarded
def untag(
    name: NameArgument,
    why: MessageOption = "",
    yes: Annotated[bool, typer.Option("--yes", help="do it")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Delete a ref. What it pointed to stays, and so does its reflog."""
    here = opened(store)
    if not yes:
        raise ConfigError(f"the ref {name} stays as it is: nothing is deleted without --yes")
    _tell(tagging.untag(name, message=why, store=here), json)


def ref_json(version: RefVersion) -> output.Json:
    """A version of a ref, in the terms of JSON."""
    return {
        "name": version.name,
        "version": version.number,
        "kind": version.kind,
        "id": version.id or None,
        "previous": version.previous,
        "at": None if version.kind == DAMAGED else version.at.isoformat(),
        "user": version.user,
        "host": version.host,
        "message": version.message,
    }


def _tell(made: RefVersion, json: bool) -> None:
    if json:
        output.print_json(ref=ref_json(made))
    else:
        target = f"-> {made.kind} {made.id}" if made.id else "is deleted"
        message(f"{made.name} {target} (version {made.number})")


def _list(found: Sequence[RefVersion], title: str, json: bool) -> None:
    if json:
        output.print_json(**{title: [ref_json(one) for one in found]})
    elif found:
        output.print_table([_cells(one) for one in found], "id")
    else:
        message("no refs found")


def _cells(version: RefVersion) -> dict[str, str]:
    cells = ref_cells(version)
    return cells | {"id": cells["id"].removeprefix(DIGEST_TAG)}
