"""The command `tasklineage`.

Only what the command that is asked for needs is imported: most of them answer in a moment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.main import get_command

_COMMANDS = {
    "run": "execute.run",
    "runs": "reading.runs",
    "show": "reading.show",
    "calls": "reading.calls",
    "logs": "reading.log",
    "whence": "lineage.whence",
    "lineage": "lineage.lineage",
    "graph": "lineage.graph",
    "accept": "accepting.accept",
    "why": "why.why",
    "diff": "diff.diff",
    "dump": "dump.dump",
    "env": "environment.env",
    "tag": "refs.tag",
    "refs": "refs.app",
    "du": "upkeep.du",
    "gc": "upkeep.gc",
    "rm": "upkeep.rm",
    "purge": "upkeep.purge",
    "pin": "upkeep.pin",
    "unpin": "upkeep.unpin",
    "fsck": "fsck.fsck",
    "rerun": "rerunning.rerun",
    "push": "transfer.push",
    "pull": "transfer.pull",
    "export": "transfer.export",
    "import": "transfer.import_",
    "worker": "worker.worker",
}
"""In the order of the help: the module below `tasklineage.cli`, and the function or group in it."""
_RUNS_SCRIPTS = ("run", "rerun")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command that `args`, by default the process's own, ask for.

    Raises
    ------
    SystemExit
        Always. 0 fine, 1 a failed run or something that would execute, 2 usage, 3 no such store or
        object, 4 busy, 5 corruption, 130 interrupted.
    """
    words = sys.argv[1:] if args is None else list(args)
    is_known = bool(words) and words[0] in _COMMANDS
    app = application(words[:1] if is_known else _COMMANDS)
    # Called as the object that typer makes: `app()` would replace `sys.excepthook`, which belongs
    # to the scripts that `run` executes.
    get_command(app)(words, prog_name="tasklineage")


def application(names: Iterable[str] = tuple(_COMMANDS)) -> typer.Typer:
    """The application, with the commands of these names."""
    app = typer.Typer(
        name="tasklineage",
        help="Run memoised tasks, and ask what was run.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_options)
    for name in names:
        module, _, attribute = _COMMANDS[name].partition(".")
        found: Any = getattr(import_module(f"tasklineage.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name, **_settings(name))(found)
    return app


def _settings(name: str) -> dict[str, Any]:
    """How a command takes its words, where it is not as usual."""
    if name in _RUNS_SCRIPTS:
        from tasklineage.cli.execute import SETTINGS

        return {"context_settings": SETTINGS}
    if name == "fsck":
        from tasklineage.cli.fsck import Command

        return {"cls": Command}
    return {}


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("tasklineage"))
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    del version  # its callback has answered


if __name__ == "__main__":
    main()
