"""The commands that look after a store: `du`, `gc`, `rm`, `purge`, `pin` and `unpin`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from tasklineage.cli import output
from tasklineage.cli.failures import guarded, message
from tasklineage.cli.reading import JsonOption, StoreOption, opened
from tasklineage.errors import ConfigError, NotFound
from tasklineage.query import find
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.ids import DIGEST_TAG, digest_text, moment, shortened
from tasklineage.query.render import size_text, time_text
from tasklineage.query.runs import Run
from tasklineage.storage import erase, roots
from tasklineage.storage import gc as collecting
from tasklineage.storage.erase import Erasure
from tasklineage.storage.gc import Condemned, Plan, Removal, Sweep
from tasklineage.storage.reach import RunFacts
from tasklineage.storage.store import Store
from tasklineage.storage.usage import Row, Usage, usage

YesOption = Annotated[bool, typer.Option("--yes", help="do it; else it is only told")]
IdsArgument = Annotated[
    list[str], typer.Argument(metavar="ID…", help="ids, or unique beginnings of them, or refs")
]

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


@guarded
def gc(
    keep_last: Annotated[
        int | None, typer.Option("--keep-last", min=0, help="keep so many newest runs of each name")
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option("--keep-days", min=0, help="keep runs of the last so many days")
    ] = None,
    keep_tag: Annotated[
        list[str] | None, typer.Option("--keep-tag", help="keep runs with this tag")
    ] = None,
    grace: Annotated[
        float,
        typer.Option("--grace", min=0, help="hours between condemning and deleting"),
    ] = collecting.GRACE / 3600,
    yes: YesOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Say what nothing reaches; with --yes condemn it, and delete what was condemned a day ago.

    A run is kept if one of the options keeps it; without any of them all are. Runs that go on, that
    are pinned or have a ref are always kept, and so is everything that a kept run needs.
    """
    here = opened(store)
    rules = collecting.Rules(keep_last, keep_days, tuple(keep_tag or ()))
    seconds = grace * 3600
    swept = collecting.sweep(here, grace=seconds) if yes else None
    planned = collecting.plan(here, rules)
    made = collecting.condemn(here, planned, rules) if yes and not planned.is_empty else None
    if made is not None and not seconds:
        swept, made = collecting.sweep(here, grace=0), None
    packed = collecting.pack(here) if yes and swept is None else 0
    if json:
        output.print_json(
            **_plan_json(planned),
            swept=_sweep_json(swept),
            condemned=_list_json(made),
            packed=packed if swept is None else swept.packed,
        )
    else:
        _tell_plan(planned, swept)
        _tell_done(swept, made, grace, yes=yes)
        if packed:
            message(f"merged small segments of the journal, which is {size_text(packed)} smaller")


@guarded
def rm(
    ids: IdsArgument,
    yes: YesOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Take runs out: they are listed no more, and `gc` frees what only they needed.

    What other runs have from them stays, and so do their memos while their values are there.
    """
    here = opened(store)
    planned = collecting.removal(here, [_run_id(here, id) for id in ids])
    if yes:
        collecting.take_out(here, (run.id for run in planned.runs), "rm")
    if json:
        output.print_json(**_removal_json(planned), removed=yes)
    else:
        _tell_removal(planned, yes=yes)


@guarded
def purge(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="an artifact, a ref to one, or a call: its result")
    ],
    reason: Annotated[str, typer.Option("--reason", "-m", help="why; kept")] = "",
    yes: YesOption = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Erase a value: its bytes and previews go, wherever they are stored; nobody serves it again.

    Results of which it is a part go with it. The calls stay, and execute again when asked for.
    """
    here = opened(store)
    planned = erase.erasure(here, _digest_of(here, id))
    if yes:
        erase.erase(here, planned, reason)
    if json:
        output.print_json(**_erasure_json(planned), purged=yes)
        return
    for digest in sorted(planned.digests):
        print(digest_text(digest))
    message(
        f"{len(planned.digests)} values, results of {planned.calls} calls: {len(planned.records)} "
        f"records and {len(planned.objects)} objects, {size_text(planned.nbytes)}, "
        f"{'were' if yes else 'would be'} erased"
    )
    if not yes:
        message("nothing was changed: --yes does it, and it cannot be undone")


@guarded
def pin(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]…", help="runs, calls, artifacts or refs")
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Keep runs, calls or artifacts from being collected. Without ID the pins are listed."""
    here = opened(store)
    pins = _pins(here)
    for item in [find.get(id, store=here) for id in ids or ()]:
        with roots.rooted(here, *_named(item)):
            pins.add(*_named(item))
    if json:
        output.print_json(pins=[{"kind": one.kind, "id": one.id.hex()} for one in pins.all()])
    elif not ids:
        for one in pins.all():
            print(f"{one.kind:<8}  {one.id.hex()}")


@guarded
def unpin(ids: IdsArgument, store: StoreOption = None) -> None:
    """Let runs, calls or artifacts that are pinned be collected again."""
    here = opened(store)
    pins = _pins(here)
    for text in ids:
        kind, id = _named(find.get(text, store=here))
        if not pins.remove(kind, id):
            raise NotFound(f"the {kind} {id.hex()} is not pinned")


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


def _tell_plan(planned: Plan, swept: Sweep | None) -> None:
    """Exactly what would go: the runs, then each object."""
    gone = frozenset(() if swept is None else swept.runs)
    runs = [run for run in planned.runs if run.id not in gone]
    if runs:
        output.print_table([_run_cells(run) for run in runs], "run")
    for oid, size in sorted(planned.objects.items(), key=lambda pair: -pair[1]):
        print(f"object {oid.hex()}  {size_text(size)}")
    if planned.records and swept is None:
        print(f"records {size_text(planned.records)}")


def _tell_done(swept: Sweep | None, made: Condemned | None, grace: float, *, yes: bool) -> None:
    if swept is not None:
        spared = f"; {swept.spared} are needed again and stay" if swept.spared else ""
        message(
            f"deleted {len(swept.runs)} runs and {swept.objects} objects, "
            f"{size_text(swept.nbytes)}{spared}; the journal is {size_text(swept.packed)} smaller"
        )
    if made is not None:
        message(
            f"condemned {made.runs} runs and {made.objects} objects: the next `tasklineage gc "
            f"--yes` after {grace:g} hours deletes what is still not needed"
        )
    if not yes:
        message("this is what would go: --yes condemns it, and deletes it a day later")
    elif swept is None and made is None:
        message("nothing to collect")


def _run_cells(run: RunFacts) -> dict[str, str]:
    return {
        "run": run.id.hex(),
        "name": run.name,
        "started": time_text(moment(run.started)),
        "calls": str(len(run.calls)),
        "tags": " ".join(tag for tag in run.tags if run.has_tag(tag)),
    }


def _plan_json(planned: Plan) -> output.Json:
    return {
        "runs": [run.id.hex() for run in planned.runs],
        "objects": {oid.hex(): size for oid, size in planned.objects.items()},
        "nbytes": planned.nbytes,
        "records": planned.records,
        "kept": planned.kept,
    }


def _sweep_json(swept: Sweep | None) -> output.Json | None:
    return swept and swept._asdict() | {"runs": [run.hex() for run in swept.runs]}


def _list_json(made: Condemned | None) -> output.Json | None:
    return made and made._asdict() | {"at": moment(made.at).isoformat()}


def _tell_removal(planned: Removal, *, yes: bool) -> None:
    output.print_table([_run_cells(run) for run in planned.runs], "run")
    for id, count in planned.dependents.items():
        print(f"run {id.hex()} has something from them in {count} calls")
    if planned.needed:
        message(f"{planned.needed} of their {planned.calls} calls are needed by others, and stay")
    verb = "taken out" if yes else "would be taken out"
    message(
        f"{len(planned.runs)} runs {verb}; `tasklineage gc --yes` then frees "
        f"{size_text(planned.nbytes)}"
    )
    if not yes:
        message("nothing was changed: --yes does it")


def _removal_json(planned: Removal) -> output.Json:
    return {
        "runs": [run.id.hex() for run in planned.runs],
        "calls": planned.calls,
        "dependents": {id.hex(): count for id, count in planned.dependents.items()},
        "needed": planned.needed,
        "nbytes": planned.nbytes,
    }


def _digest_of(store: Store, text: str) -> bytes:
    item = find.get(text, store=store)
    found = item.output if isinstance(item, Call) else item
    if not isinstance(found, Artifact):
        raise ConfigError(f"{text} is no value: name an artifact, or a call that gave one")
    return bytes.fromhex(found.digest.removeprefix(DIGEST_TAG))


def _erasure_json(planned: Erasure) -> output.Json:
    return {
        "digests": [digest_text(digest) for digest in sorted(planned.digests)],
        "calls": planned.calls,
        "records": len(planned.records),
        "objects": {oid.hex(): size for oid, size in planned.objects.items()},
        "nbytes": planned.nbytes,
    }


def _pins(store: Store) -> roots.Pins:
    return roots.Pins(store.backend, read_only=store.read_only)


def _run_id(store: Store, text: str) -> bytes:
    item = find.get(text, store=store)
    if not isinstance(item, Run):
        raise ConfigError(
            f"{text} is no run: only runs are taken out. `purge` erases a single value"
        )
    return bytes.fromhex(item.id)


def _named(item: Run | Call | Artifact) -> tuple[str, bytes]:
    """Its kind, and its id or Digest."""
    if isinstance(item, Artifact):
        return roots.ARTIFACT, bytes.fromhex(item.digest.removeprefix(DIGEST_TAG))
    return roots.RUN if isinstance(item, Run) else roots.CALL, bytes.fromhex(item.id)
