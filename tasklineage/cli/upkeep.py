"""The commands that look after a store: `du`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tasklineage.cli import output
from tasklineage.cli.failures import guarded
from tasklineage.cli.reading import JsonOption, StoreOption, opened
from tasklineage.query.ids import shortened
from tasklineage.query.render import size_text
from tasklineage.storage.store import Store
from tasklineage.storage.usage import Row, Usage, usage

_FIRST = 30
"""Rows of `du` that people are shown."""


@guarded
def du(
    by: Annotated[str, typer.Option("--by", help="task, run, tag or type")] = "task",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="rows; 0: all")] = _FIRST,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Say what the bytes of a store belong to."""
    here = opened(store)
    found = usage(here, by)
    if json:
        output.print_json(**found._asdict() | {"rows": [row._asdict() for row in found.rows]})
    else:
        _print_usage(here, found, limit)


def _print_usage(store: Store, found: Usage, limit: int) -> None:
    shown = found.rows[: limit or None]
    rows = [
        _usage_cells(name, row.exclusive, row.shared)
        for name, row in zip(_names(store, found.by, shown), shown, strict=True)
    ]
    rest = found.rows[len(shown) :]
    if rest:
        rows.append(_usage_cells(f"({len(rest)} more)", sum(row.exclusive for row in rest)))
    rows += [
        _usage_cells("shared by several", found.shared),
        _usage_cells("needed by nothing", found.unneeded),
        _usage_cells("indexes and the rest", found.other),
        _usage_cells("total", found.total),
    ]
    output.print_table([{found.by: name, "exclusive": own, "shared": s} for name, own, s in rows])


def _usage_cells(name: str, own: int, shared: int | None = None) -> tuple[str, str, str]:
    return name, size_text(own), "" if shared is None else size_text(shared)


def _names(store: Store, by: str, rows: Sequence[Row]) -> list[str]:
    """What the rows are called: runs by id and name."""
    names = [row.name for row in rows]
    if by != "run":
        return names
    short = dict(zip(names, shortened(names), strict=True))
    known = {run.id.hex(): run.name for run in store.catalog.find_runs()}
    return [f"{short[name]} {known[name]}" if name in known else name for name in names]
