"""The command that says what differs between two runs, calls or values: `diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from tasklineage.cli import output
from tasklineage.cli.failures import FAILED, guarded
from tasklineage.cli.reading import JsonOption, StoreOption, opened
from tasklineage.query.diff import diff as diff_of

SideArgument = Annotated[
    str, typer.Argument(help="a ref, an id or digest, or the beginning of one")
]


@guarded
def diff(
    a: SideArgument, b: SideArgument, store: StoreOption = None, json: JsonOption = False
) -> None:
    """Say what differs between two runs, two calls or two values; exit with 1 if anything does."""
    found = diff_of(a, b, store=opened(store))
    if json:
        output.print_json(**found.to_dict())
    else:
        for line in found.lines():
            print(output.encodable(line))
    if found:
        raise typer.Exit(FAILED)
