"""The command that says why something executed: `why`."""

from __future__ import annotations

from tasklineage.cli import output
from tasklineage.cli.failures import guarded
from tasklineage.cli.reading import IdArgument, JsonOption, StoreOption, opened
from tasklineage.query.why import why as why_of


@guarded
def why(id: IdArgument, store: StoreOption = None, json: JsonOption = False) -> None:
    """Say why a call, or each call of a run, executed: what is not what it was."""
    found = why_of(id, store=opened(store))
    if json:
        output.print_json(**found.to_dict())
    else:
        for line in found.lines():
            print(output.encodable(line))
