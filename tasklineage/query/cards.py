"""What a notebook shows of one run, one call or one value: small pieces of HTML.

No scripts, nothing to load, colours that can be read on white and on black. Whatever comes from the
store is escaped. Nothing is decoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasklineage.query.cells import (
    arguments_text,
    artifact_cells,
    call_cells,
    call_row,
    error_text,
    run_cells,
    usage_cells,
)
from tasklineage.query.render import (
    html_block,
    html_faint,
    html_folded,
    html_heading,
    html_pairs,
    html_status,
    html_table,
    html_text,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tasklineage.query.artifacts import Artifact
    from tasklineage.query.calls import Call
    from tasklineage.query.runs import Run

_ROOTS = 8


def run_card(run: Run) -> str:
    """Name, status, counts, parameters, and the first calls of a run."""
    cells = run_cells(run)
    counts = ", ".join(f"{cells[name]} {name}" for name in ("executed", "hits", "failed"))
    pairs = {
        "run": cells["run"],
        "started": cells["started"],
        "took": cells["took"],
        "calls": counts,
        "tags": cells["tags"],
        "parameters": arguments_text(run.params.artifacts),
        "error": error_text(run.error),
    }
    heading = html_heading(run.name or "run", html_status(cells["status"]))
    return _card(heading + html_pairs("", pairs) + _roots(run))


def call_card(call: Call) -> str:
    """Task, status, arguments, result and error of a call; its output and source, folded."""
    cells = call_cells(call)
    output, error = call.output, call.error
    pairs = {
        "call": cells["call"],
        "run": call.run_id,
        "computed by": call.producer_id or "",
        "started": cells["started"],
        "took": cells["took"],
        **usage_cells(call),
        "error": error_text(error),
    }
    heading = html_heading(call.task, html_status(cells["status"]))
    values = _values(call.inputs, output)
    folded = (
        html_folded("stdout", call.stdout)
        + html_folded("stderr", call.stderr)
        + html_folded("traceback", "" if error is None else error.traceback)
        + html_folded("source", call.source)
    )
    return _card(heading + html_pairs("", pairs) + values + folded)


def artifact_card(artifact: Artifact) -> str:
    """Type, size, digest and preview of a value, and the call that made it first."""
    cells = artifact_cells(artifact)
    producers = artifact.producers[:2]
    made = [f"{call.task} ({call.id})" for call in producers[:1]] + ["…"] * (len(producers) > 1)
    heading = html_heading(artifact.type, html_faint(cells["size"]))
    pairs = {"digest": artifact.digest, "made by": " ".join(made)}
    return _card(heading + html_block(artifact.preview) + html_pairs("", pairs))


def _values(inputs: Mapping[str, Artifact], output: Artifact | None) -> str:
    """A table of the arguments and the result."""
    named = dict(inputs) if output is None else {**inputs, "→": output}
    rows = [
        {
            "": name,
            "type": value.type,
            "size": artifact_cells(value)["size"],
            "value": one_line(value.preview),
        }
        for name, value in named.items()
    ]
    return html_table(rows) if rows else ""


def _roots(run: Run) -> str:
    """The first of the calls that no other call of the run made."""
    roots = run.roots[: _ROOTS + 1]
    if not roots:
        return ""
    more = html_text("…") if len(roots) > _ROOTS else ""
    return html_table([call_row(call) for call in roots[:_ROOTS]]) + more


def _card(content: str) -> str:
    return f'<div style="margin:4px 0;text-align:left">{content}</div>'
