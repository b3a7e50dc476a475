"""The command `accept`: memos of a task's previous code version stay good, or no longer do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tasklineage.cli import output
from tasklineage.cli.execute import ended, function_of, load
from tasklineage.cli.failures import guarded, message
from tasklineage.cli.reading import JsonOption, StoreOption, opened
from tasklineage.errors import ConfigError, NotFound
from tasklineage.query import find
from tasklineage.query.acceptances import Acceptance, acceptances
from tasklineage.query.render import time_text
from tasklineage.storage.store import Store


@guarded
def accept(
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="its name, or its last part; or FILE.py:task"),
    ] = None,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="what was accepted for the present code is no longer")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Let memos of a task's previous code version stay good for its present code.

    The present code is read from the project: its module is imported, or the script loaded without
    its `if __name__ == "__main__"` part. Without TASK the decisions made so far are listed.
    """
    here = opened(store, allow_pickle=True)
    if task is None:
        _list(acceptances(here), json)
        return
    made = _found(task, here).accept(revoke=revoke, store=here)
    if json:
        output.print_json(**acceptance_json(made))
        return
    verb = "no longer answer" if made.revoked else "answer"
    message(f"memos of {', '.join(made.accepted)} {verb} for {made.task} ({made.code_version})")


def acceptance_json(made: Acceptance) -> output.Json:
    """A decision, in the terms of JSON."""
    return {**made._asdict(), "accepted": list(made.accepted), "at": made.at.isoformat()}


def _list(made: list[Acceptance], json: bool) -> None:
    if json:
        output.print_json(acceptances=[acceptance_json(one) for one in made])
    elif made:
        output.print_table([_cells(one) for one in made], "code version")
    else:
        message("nothing was accepted")


def _cells(made: Acceptance) -> dict[str, str]:
    return {
        "at": time_text(made.at),
        "user": made.user,
        "decision": "revoked" if made.revoked else "accepted",
        "task": made.task,
        "memos of": " ".join(made.accepted),
        "code version": made.code_version,
    }


def _found(name: str, store: Store) -> Any:
    """The task that is meant, with its present code."""
    file, _, attribute = name.rpartition(":")
    if not file:
        return _of_calls(name, store)
    if not Path(file).is_file():
        raise ConfigError(f"no file {file}")
    loaded: list[Any] = []
    code = ended(lambda: loaded.append(load(Path(file))))
    if code:
        raise SystemExit(code)
    return _as_task(function_of(loaded[0], attribute, Path(file)), name)


def _of_calls(name: str, store: Store) -> Any:
    """The task whose last call has that name."""
    from tasklineage.core.rerun import find_task, folders_of, named

    calls = find.calls(task=name, namespace=find.EVERYTHING, limit=1, store=store)
    if not calls:
        raise NotFound(f"no call of a task {name} is recorded in {store.url}")
    call = calls[0]
    sys.path[:0] = [folder for folder in folders_of(call.run) if folder not in sys.path]
    try:
        task = find_task(call)
    except NotFound:
        raise NotFound(
            f"the present code of {call.task} cannot be found: say where it is, as in "
            "`tasklineage accept FILE.py:task`"
        ) from None
    return named(task, call.task)


def _as_task(found: Any, name: str) -> Any:
    from tasklineage.core.task import Task

    if not isinstance(found, Task):
        raise ConfigError(f"{name} is not a task: only calls of tasks are memos")
    return found
