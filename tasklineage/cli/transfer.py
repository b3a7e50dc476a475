"""The commands that take things from one store to another: `push`, `pull`, `export`, `import`."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from tasklineage import config
from tasklineage.cli import output
from tasklineage.cli.failures import FAILED, guarded, message
from tasklineage.cli.reading import JsonOption, StoreOption, opened
from tasklineage.errors import CorruptObject, MissingObject
from tasklineage.query import transfers
from tasklineage.query.render import size_text
from tasklineage.query.transfers import Tell, Transfer
from tasklineage.storage.transfer import Progress

IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="runs, calls, artifacts, refs; else everything"),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="say what would be sent; write nothing")
]
IntoOption = Annotated[
    str | None, typer.Option("--store", help="where it goes; else the default store")
]


@guarded
def push(
    dest: Annotated[str, typer.Argument(metavar="DEST", help="URL or path of the other store")],
    ids: IdsArgument = None,
    store: StoreOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Send to another store what it lacks of this one: everything, or some things.

    With each thing goes all that it came from. The other store is made where there is none.
    """
    source = opened(store)
    _carry_out(
        lambda tell: transfers.push(
            dest, *(ids or ()), store=source, dry_run=dry_run, tell=tell
        ),
        json,
    )  # fmt: skip


@guarded
def pull(
    src: Annotated[str, typer.Argument(metavar="SRC", help="URL or path of the other store")],
    ids: IdsArgument = None,
    store: IntoOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Fetch from another store what this one lacks of it: everything, or some things.

    With each thing comes all that it came from.
    """
    _carry_out(
        lambda tell: transfers.pull(src, *(ids or ()), store=store, dry_run=dry_run, tell=tell),
        json,
    )


@guarded
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the file to make: a tar archive")],
    ids: IdsArgument = None,
    store: StoreOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="replace a file that is there")] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Put a store, or some things with all that they came from, into one file."""
    source = opened(store)
    _carry_out(
        lambda tell: transfers.export_bundle(
            file, *(ids or ()), store=source, replace=yes, dry_run=dry_run, tell=tell
        ),
        json,
    )


@guarded
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a file that `export` has made")],
    ids: IdsArgument = None,
    store: IntoOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Take from such a file what the store lacks of it: everything, or some things.

    Nothing of it is executed or unpickled. To look at a stranger's, import it into a store of its
    own, and open that with allow_pickle=False.
    """
    _carry_out(
        lambda tell: transfers.import_bundle(
            file, *(ids or ()), store=store, dry_run=dry_run, tell=tell
        ),
        json,
    )


def _carry_out(transfer: Callable[[Tell], Transfer], json: bool) -> None:
    """Do it, and say what was done, also where not all could be had."""
    try:
        with _progress() as tell, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # conflicts are said below
            done = transfer(tell)
    except (CorruptObject, MissingObject) as error:
        found: Any = getattr(error, "transfer", None)
        if found is not None:
            _say(found, json)
        raise
    _say(done, json)
    if done.conflicts:
        raise SystemExit(FAILED)


def _say(done: Transfer, json: bool) -> None:
    if json:
        output.print_json(**done.to_dict())
    else:
        print(f"would send {done}" if done.dry_run else done)
    for conflict in done.conflicts:
        message(str(conflict))
    if done.running:
        message(f"not over yet, so send again later: {', '.join(done.running)}")
    if done.removed:
        message(f"taken out there, and they stay so: {', '.join(done.removed)}")
    if done.unknown:
        message(f"{done.unknown:,} records were left out that this tasklineage does not understand")


@contextlib.contextmanager
def _progress() -> Generator[Tell]:
    """What draws how far it is, where somebody is looking."""
    if not (config.wants_progress() and sys.stderr.isatty()):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("objects"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[size]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("objects", total=None, size="")

        def tell(progress: Progress) -> None:
            sent = size_text(progress.nbytes)
            bars.update(bar, completed=progress.done, total=progress.total, size=sent)

        yield tell
