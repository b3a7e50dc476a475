"""The command that checks a store: `fsck`."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from tasklineage import config
from tasklineage.cli import output
from tasklineage.cli.failures import CORRUPT, guarded, message
from tasklineage.cli.reading import JsonOption, StoreOption
from tasklineage.errors import ConfigError
from tasklineage.storage.opening import place_of
from tasklineage.storage.store import Store

if TYPE_CHECKING:
    from tasklineage.storage.fsck import Finding, Report

_READ_DATA = "--read-data"
_MOST_SHOWN = 5


class Command(TyperCommand):
    """A command whose option `--read-data` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(
            ctx, [f"{arg}=100%" if arg == _READ_DATA else arg for arg in args]
        )


@guarded
def fsck(
    read_data: Annotated[
        str | None,
        typer.Option(_READ_DATA, metavar="[=n%]", help="read all bytes of the objects, or of n %"),
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="decode the values too, except those that need pickle")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="move what is damaged to `quarantine`; nothing is deleted"),
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Check whether the store is what was written, and name the runs that are concerned if not.

    Exits with 5 if there is damage that was not repaired. Other processes may go on meanwhile.
    """
    share = 0.0 if read_data is None else _share(read_data)
    with _progress() as progress:
        report = _report(
            store,
            read_data=share,
            decode=decode,
            repair=repair,
            signing_key=config.signing_key(),
            progress=progress,
        )
    if json:
        output.print_json(**report_json(report))
    else:
        _show(report)
    if not report.is_healthy:
        raise SystemExit(CORRUPT)


def report_json(report: Report) -> output.Json:
    """What was found, in the terms of JSON."""
    return {
        "healthy": report.is_healthy,
        "damage": len(report.damage),
        "findings": [_finding_json(finding) for finding in report.findings],
        "checked": report.counts,
        "seconds": round(report.seconds, 3),
    }


def _finding_json(finding: Finding) -> output.Json:
    from tasklineage.storage.fsck import KINDS

    return {
        "kind": finding.kind,
        "damage": finding.is_damage,
        "meaning": KINDS[finding.kind].meaning,
        "path": finding.path,
        "text": finding.text,
        "runs": sorted(run.hex() for run in finding.runs),
        "calls": sorted(call.hex() for call in finding.calls),
        "repaired": finding.repaired or None,
    }


def _show(report: Report) -> None:
    from tasklineage.storage.fsck import KINDS

    for finding in report.damage:
        print(f"{finding.kind}  {finding.path}".rstrip())
        print(f"  {KINDS[finding.kind].meaning}{finding.text and f': {finding.text}'}")
        _show_ids("runs", finding.runs)
        _show_ids("calls", finding.calls)
        if finding.repaired:
            print(f"  repaired: {finding.repaired}")
    for kind, count in Counter(finding.kind for finding in report.notices).items():
        first = next(finding for finding in report.notices if finding.kind == kind)
        where = " ".join(filter(None, (first.path, first.text)))
        more = f", and {count - 1} more" if count > 1 else ""
        message(f"note: {kind}: {KINDS[kind].meaning} ({where}{more})")
    message(_summary(report))


def _show_ids(title: str, ids: set[bytes]) -> None:
    if ids:
        shown = sorted(id.hex() for id in ids)
        more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
        print(f"  {title}: {' '.join(shown[:_MOST_SHOWN])}{more}")


def _summary(report: Report) -> str:
    counts = report.counts
    looked = f"{counts.get('records', 0):,} records, {counts.get('objects', 0):,} objects"
    found = len(report.damage)
    left = sum(not finding.repaired for finding in report.damage)
    if not found:
        outcome = "no damage"
    elif not left:
        outcome = f"{found} damaged, repaired"
    else:
        outcome = f"{found} damaged, {left} not repaired"
        if left == found:
            outcome += "; `tasklineage fsck --repair` moves what is damaged out of the way"
    return f"{looked} in {report.seconds:.1f} s: {outcome}"


def _report(store: str | None, **options: Any) -> Report:
    """What a check of the store finds."""
    chosen = store or config.default_store()
    place, is_remote = place_of(chosen.url if isinstance(chosen, Store) else chosen)
    if is_remote:
        from tasklineage.storage.fsck.remote import check_remote

        return check_remote(place, **options)
    from tasklineage.storage.fsck import check

    return check(Path(place), **options)


def _share(text: str) -> float:
    """The share that `5%`, or `5`, says."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"{_READ_DATA}={text}: a percentage is expected, as in {_READ_DATA}=5%")
    return share


@contextlib.contextmanager
def _progress() -> Generator[Callable[[str, int, int], object]]:
    """Where a check reports how far it is: a line on a terminal, else nowhere."""
    if not (config.wants_progress() and sys.stderr.isatty()):
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("fsck", total=None)
        yield lambda what, done, total: bars.update(
            bar, description=what, completed=done, total=total or None
        )
