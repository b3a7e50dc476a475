"""The command `env`: what a run executed in."""

from __future__ import annotations

from typing import Annotated

import typer

from tasklineage.cli import output
from tasklineage.cli.failures import guarded
from tasklineage.cli.reading import JsonOption, StoreOption, opened
from tasklineage.errors import ConfigError, NotFound
from tasklineage.query import find
from tasklineage.query.environments import Environment
from tasklineage.query.runs import Run


@guarded
def env(
    run: Annotated[str, typer.Argument(metavar="RUN", help="id of a run, or its beginning")],
    diff: Annotated[
        bool, typer.Option("--diff", help="print only how the code differed from the commit")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Print what was installed when a run began, as pip takes it, and the rest as comments."""
    found = find.get(run, store=opened(store))
    if not isinstance(found, Run):
        raise ConfigError(f"{run} is not a run: `tasklineage runs` lists runs")
    environment = found.environment
    if environment is None:
        raise NotFound(f"the environment of run {found.id} was not recorded")
    if json:
        _print_json(found, environment)
    elif diff:
        print(environment.diff, end="")
    else:
        for line in (*_comments(found, environment), *environment.requirements):
            print(line)


def _comments(run: Run, environment: Environment) -> list[str]:
    """What pip does not install, a line each."""
    lines = [
        f"run {run.id} ({run.name}) of {run.user}@{run.host} in {run.cwd}",
        f"Python {environment.python} ({environment.implementation}), {environment.platform}, "
        f"{environment.machine}, {environment.cpus} CPUs",
    ]
    if environment.commit:
        state = f", changed: {', '.join(environment.changed)}" if environment.dirty else ""
        lines.append(f"commit {environment.commit}{state}")
    if environment.untracked:
        lines.append(f"not known to Git: {', '.join(environment.untracked)}")
    if environment.note:
        lines.append(environment.note)
    return [f"# {line}" for line in lines]


def _print_json(run: Run, environment: Environment) -> None:
    fields = environment._asdict()
    fields["distributions"] = [
        {"name": name, "version": version, "url": url or None}
        for name, version, url in environment.distributions
    ]
    output.print_json(
        run=run.id,
        environment={
            "host": run.host, "user": run.user, "cwd": run.cwd, "argv": list(run.argv), **fields,
            "dirty": environment.dirty, "requirements": environment.requirements,
        },
    )  # fmt: skip
