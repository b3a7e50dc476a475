"""The command that makes a recorded call again: `rerun CALL [--param value]`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from tasklineage.cli.failures import guarded, report
from tasklineage.cli.params import parse
from tasklineage.cli.reading import StoreOption, opened
from tasklineage.errors import ConfigError, TasklineageError
from tasklineage.query import find
from tasklineage.query.calls import Call
from tasklineage.storage.codecs.describe import preview

_EPILOG = (
    "The options of `tasklineage rerun` (--store --record) may stand here too; where the task has "
    "a parameter of such a name, put the option before CALL."
)


class _Recorded:
    """The default of every parameter."""

    def __repr__(self) -> str:
        return "as recorded"


_RECORDED = _Recorded()


@guarded
def rerun(
    context: typer.Context,
    call: Annotated[str, typer.Argument(metavar="CALL", help="id of a call, or its beginning")],
    store: StoreOption = None,
    record: Annotated[
        bool, typer.Option("--record", help="record it, as a call of a new run of the same name")
    ] = False,
) -> None:
    """Make a recorded call again, here, with its recorded arguments or some in their place.

    What follows CALL are parameters of the task: `--lr 0.2`; `CALL --help` lists them. The result
    is printed; an exception ends the command with 1, after its traceback.
    """
    rest = list(context.args)
    store = store or _taken(rest, "--store", has_value=True)
    record = record or _taken(rest, "--record") is not None
    found = find.get(call, store=opened(store, allow_pickle=True))
    if not isinstance(found, Call):
        raise ConfigError(f"{call} is not a call: `tasklineage calls` lists calls")
    _use_store(store)
    try:
        result = _made_again(found, rest, record)
    except (TasklineageError, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001  # the user's code
        raise SystemExit(report(error)) from None
    if result is not None:
        print(preview(result))


def _made_again(call: Call, args: list[str], record: bool) -> Any:
    from tasklineage.core.rerun import be_main, find_task, folders_of
    from tasklineage.core.run import run

    sys.path[:0] = [folder for folder in folders_of(call.run) if folder not in sys.path]
    task = find_task(call)
    be_main()
    program = f"tasklineage rerun {call.id}"
    values = parse(task, args, program, _EPILOG, else_=_RECORDED)
    given = {name: value for name, value in values.items() if value is not _RECORDED}
    if not record:
        return call.rerun(**given)
    with run(call.run.name):
        return call.rerun(record=True, **given)


def _use_store(store: str | None) -> None:
    from tasklineage.core.run import configure

    if store is not None:
        configure(store=store)


def _taken(args: list[str], option: str, *, has_value: bool = False) -> str | None:
    """Take an option, and its value, out of the arguments; None if it is not there."""
    for at, word in enumerate(args):
        name, mark, value = word.partition("=")
        if name != option or (mark and not has_value):
            continue
        if has_value and not mark:
            if at + 1 == len(args):
                raise ConfigError(f"{option} needs a value")
            value = args.pop(at + 1)
        del args[at]
        return value
    return None
