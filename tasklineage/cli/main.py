"""The command `tasklineage`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from tasklineage.cli import (
    accepting,
    diff,
    dump,
    environment,
    execute,
    fsck,
    lineage,
    reading,
    refs,
    rerunning,
    transfer,
    upkeep,
    why,
    worker,
)

app = typer.Typer(
    name="tasklineage",
    help="Run memoised tasks, and ask what was run.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("run", context_settings=execute.SETTINGS)(execute.run)
app.command("runs")(reading.runs)
app.command("show")(reading.show)
app.command("calls")(reading.calls)
app.command("logs")(reading.log)
app.command("whence")(lineage.whence)
app.command("lineage")(lineage.lineage)
app.command("graph")(lineage.graph)
app.command("accept")(accepting.accept)
app.command("why")(why.why)
app.command("diff")(diff.diff)
app.command("dump")(dump.dump)
app.command("env")(environment.env)
app.command("tag")(refs.tag)
app.add_typer(refs.app, name="refs")
app.command("du")(upkeep.du)
app.command("gc")(upkeep.gc)
app.command("rm")(upkeep.rm)
app.command("purge")(upkeep.purge)
app.command("pin")(upkeep.pin)
app.command("unpin")(upkeep.unpin)
app.command("fsck", cls=fsck.Command)(fsck.fsck)
app.command("rerun", context_settings=execute.SETTINGS)(rerunning.rerun)
app.command("push")(transfer.push)
app.command("pull")(transfer.pull)
app.command("export")(transfer.export)
app.command("import")(transfer.import_)
app.command("worker")(worker.worker)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command that `args`, by default the process's own, ask for.

    Raises
    ------
    SystemExit
        Always. 0 fine, 1 a failed run or something that would execute, 2 usage, 3 no such store or
        object, 4 busy, 5 corruption, 130 interrupted.
    """
    # Called as the object that typer makes: `app()` would replace `sys.excepthook`, which belongs
    # to the scripts that `run` executes.
    get_command(app)(None if args is None else list(args), prog_name="tasklineage")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("tasklineage"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    del version  # its callback has answered


if __name__ == "__main__":
    main()
