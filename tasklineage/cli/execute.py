"""The command that executes: `run FILE.py[:task]`."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import time
import types
from collections.abc import Callable, Collection, Sequence
from functools import reduce
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import typer

from tasklineage import config
from tasklineage.cli.failures import INTERRUPTED, guarded, message, report
from tasklineage.cli.output import encodable, print_json
from tasklineage.cli.params import parameters_of, parse, perform
from tasklineage.errors import ConfigError
from tasklineage.query import find
from tasklineage.query.runs import Run
from tasklineage.storage.codecs.describe import preview

SETTINGS = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
}
"""What stands after FILE.py is not for typer: it belongs to the script or the task."""
_EPILOG = (
    "The options of `tasklineage run` (--store --executor --max-workers --tag --verify --quiet "
    "--dry-run) may stand here too; a parameter of the same name goes first. What follows `--` is "
    "for the task alone."
)


class RunOptions(NamedTuple):
    """The options of `tasklineage run`."""

    store: str | None = None
    executor: str | None = None
    max_workers: int | None = None
    tags: tuple[str, ...] = ()
    quiet: bool = False
    verify: float | None = None
    dry: bool = False
    json: bool = False


@guarded
def run(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="FILE.py[:task]")],
    store: Annotated[
        str | None, typer.Option("--store", help="URL or path of the store; else the default one")
    ] = None,
    executor: Annotated[
        str | None, typer.Option("--executor", help="inline, threads, threads:8, …")
    ] = None,
    max_workers: Annotated[
        int | None, typer.Option("--max-workers", min=1, help="how many calls at a time")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="kept on the run")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="capture what tasks print, echo nothing")
    ] = False,
    verify: Annotated[
        float | None,
        typer.Option(
            "--verify", min=0, max=1, help="execute this share of the hits again, and compare"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would execute and why; execute nothing")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="with --dry-run: print JSON")] = False,
) -> None:
    """Execute a script, or one task or function of it.

    Without a task the file is executed as `python FILE.py` does it; what stands after it is its
    command line. With one, the options after it are the parameters of that function, which
    `FILE.py:task --help` lists.
    """
    given = RunOptions(store, executor, max_workers, tuple(tag or ()), quiet, verify, dry_run, json)
    name, _, attribute = target.partition(":") if not Path(target).exists() else (target, "", "")
    file = Path(name)
    if not file.is_file():
        raise ConfigError(f"no file {file}")
    if attribute:
        _run_task(file, attribute, given, context.args)
    else:
        options, rest = split(given, context.args, ())
        _run_script(file, options, rest)


def split(
    given: RunOptions, args: Sequence[str], taken: Collection[str]
) -> tuple[RunOptions, list[str]]:
    """The options of `run` that stand among `args`, added to those `given`, and the rest.

    Options whose names are `taken` are left where they are, and so is what follows `--`.

    Raises
    ------
    ConfigError
        An option lacks its value, or has a wrong one.

    Examples
    --------
    >>> split(RunOptions(), ["--lr", "0.1", "--tag=a", "--", "--quiet"], ())
    (RunOptions(store=None, executor=None, max_workers=None, tags=('a',), quiet=False, \
verify=None, dry=False, json=False), ['--lr', '0.1', '--quiet'])
    """
    options, rest, todo = given, list[str](), list(args)
    while todo:
        word = todo.pop(0)
        if word == "--":
            return options, rest + todo
        name, has_value, value = word.partition("=")
        if name in taken or name not in _READERS or (name == "--json" and not options.dry):
            rest.append(word)
        elif name in _FLAGS:
            options = _READERS[name](options, "")
        elif not has_value and not todo:
            raise ConfigError(f"{name} needs a value")
        else:
            options = _READERS[name](options, value if has_value else todo.pop(0))
    return options, rest


def _with_workers(options: RunOptions, text: str) -> RunOptions:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--max-workers is a number from 1, not {text}")
    return options._replace(max_workers=int(text))


def _with_share(options: RunOptions, text: str) -> RunOptions:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"--verify is a share of the hits, from 0 to 1, not {text}")
    return options._replace(verify=share)


_READERS: dict[str, Callable[[RunOptions, str], RunOptions]] = {
    "--store": lambda options, text: options._replace(store=text),
    "--executor": lambda options, text: options._replace(executor=text),
    "--tag": lambda options, text: options._replace(tags=(*options.tags, text)),
    "--max-workers": _with_workers,
    "--verify": _with_share,
    "--quiet": lambda options, _: options._replace(quiet=True),
    "--dry-run": lambda options, _: options._replace(dry=True),
    "--json": lambda options, _: options._replace(json=True),
}
_FLAGS = frozenset({"--quiet", "--dry-run", "--json"})


def _run_script(file: Path, options: RunOptions, args: list[str]) -> None:
    """Execute the file as `__main__`, as the interpreter would."""
    _apply(options)
    sys.argv = [str(file), *args]
    sys.path.insert(0, str(file.resolve().parent))
    if options.dry:
        raise SystemExit(_dry(options, lambda: _execute_main(file)))
    since = time.time()
    code = ended(lambda: _execute_main(file))
    for begun in _begun_here(since):
        if options.tags and begun.parent is None:
            begun.add_tags(*options.tags)
        _summarize(begun, options)
    if not code and _is_differing(since, options):
        code = 1
    if code:
        raise SystemExit(code)


def _run_task(file: Path, attribute: str, given: RunOptions, args: list[str]) -> None:
    """Call one function of the file in a run named after it."""
    sys.argv = [str(file), *args]
    loaded: list[Any] = []
    code = ended(lambda: loaded.append(load(file)))
    if code:
        raise SystemExit(code)
    function = function_of(loaded[0], attribute, file)
    taken = {name for p in parameters_of(function) for name in (p.option, f"--no-{p.option[2:]}")}
    options, rest = split(given, args, taken)
    _apply(options)
    values = parse(function, rest, f"tasklineage run {file}:{attribute}", epilog=_EPILOG)
    if options.dry:
        raise SystemExit(_dry(options, lambda: perform(function, values, name=file.stem)))
    since = time.time()
    try:
        result = perform(function, values, name=file.stem, tags=options.tags)
    finally:
        for begun in _begun_here(since):
            _summarize(begun, options)
    if result is not None:
        print(preview(result))
    if _is_differing(since, options):
        raise SystemExit(1)


def _dry(options: RunOptions, execute: Callable[[], object]) -> int:
    """Run plain code without executing tasks, and print the plan: 1 if anything would execute."""
    from tasklineage.core.dry_run import DryRun, Needed

    if options.json:
        out, sys.stdout = sys.stdout, sys.stderr  # what plain code prints is not the answer
    else:
        out = sys.stdout
    dry, note, code = DryRun(), "", 0
    dry.begin()
    try:
        execute()
    except Needed as needed:
        note = str(needed)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception as error:  # noqa: BLE001  # the user's code
        code = report(error)
    finally:
        sys.stdout = out
    plan = dry.plan(note)
    if options.json:
        print_json(**plan.to_dict())
    else:
        for line in plan.lines():
            print(encodable(line))
    return code or int(bool(plan))


def _apply(options: RunOptions) -> None:
    """Make the options the settings of this process."""
    from tasklineage.core import capture
    from tasklineage.core.run import configure

    executor = _executor(options)
    if options.store is not None:
        configure(store=options.store)
    if executor is not None:
        configure(executor=executor)
    if options.verify is not None:
        configure(verify=options.verify)
    if options.quiet:
        capture.set_quiet(True)


def _executor(options: RunOptions) -> str | None:
    """The executor with `--max-workers` in it: `threads:8`."""
    if options.max_workers is None:
        return options.executor
    name = str(options.executor or config.default_executor())
    kind, _, workers = name.partition(":")
    if kind == "inline" or "//" in workers:
        raise ConfigError(f"--max-workers does not go with the executor {name}")
    return f"{kind}:{options.max_workers}"


def _execute_main(file: Path) -> None:
    path = str(file.absolute())
    module = types.ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    exec(compile(file.read_bytes(), path, "exec"), module.__dict__)


def load(file: Path) -> types.ModuleType:
    """The file as a module, named as an import from its folder, or its package, would name it."""
    path = file.resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").exists():
        folder, name = folder.parent, f"{folder.name}.{name}"
    sys.path.insert(0, str(folder))
    if "." in name:
        return importlib.import_module(name)
    loader = SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def function_of(module: types.ModuleType, attribute: str, file: Path) -> Callable[..., Any]:
    """The function of that name in the module.

    Raises
    ------
    ConfigError
        There is none.
    """
    try:
        found: Any = reduce(getattr, attribute.split("."), module)
    except AttributeError:
        found = None
    if not callable(found) or inspect.isclass(found):
        own = [name for name, value in vars(module).items() if _is_own(value, module)]
        raise ConfigError(f"{file} has no function {attribute}; it has: {', '.join(own) or 'none'}")
    return cast(Callable[..., Any], found)


def _is_own(value: Any, module: types.ModuleType) -> bool:
    plain = inspect.unwrap(value) if callable(value) else value
    return inspect.isfunction(plain) and plain.__module__ == module.__name__


def ended(execute: Callable[[], None]) -> Any:
    """Execute the user's code; what to exit with, as `SystemExit` takes it.

    `sys.last_value` is what the interpreter sets for an exception that nobody caught: by it the
    ambient run knows how it ended.
    """
    try:
        execute()
    except SystemExit as error:
        if error.code not in (None, 0):
            sys.last_value = error
        return error.code
    except KeyboardInterrupt as error:
        sys.last_value = error
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  # the user's code
        sys.last_value = error
        return report(error)
    return 0


def _begun_here(since: float) -> list[Run]:
    """The runs that this process has begun in the default store, oldest first."""
    newest_first = find.runs(namespace=find.EVERYTHING, since=since)
    return [run for run in newest_first if run.pid == os.getpid()][::-1]


def _is_differing(since: float, options: RunOptions) -> bool:
    """Whether a hit was executed again, as the options ask for, and came out otherwise."""
    return bool(options.verify) and any(run.differing for run in _begun_here(since))


def _summarize(run: Run, options: RunOptions) -> None:
    if not options.quiet:
        hits, executed, failed = run.counts
        text = f"run {run.id} ({run.name}): executed {executed}, hits {hits}, failed {failed}"
        if run.verified:
            text += f", verified {run.verified}, differing {run.differing}"
        message(text)
