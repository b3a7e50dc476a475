"""A recorded call made again, here and now: `call.rerun()`.

The function is found by its recorded name: a task that lives in this process, else its module is
imported, else the script that was recorded is loaded. The recorded arguments are decoded one by
one, some of them replaced. Then the plain function is called with them, or the engine.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from tasklineage.core import engine, memos
from tasklineage.core.call import plain_value
from tasklineage.core.deferred import with_values
from tasklineage.core.failure import without_our_frames
from tasklineage.core.loops import run_coroutine
from tasklineage.core.task import Task
from tasklineage.errors import MissingObject, NotFound
from tasklineage.key.secrets import Secret
from tasklineage.query.calls import Call
from tasklineage.query.runs import Run
from tasklineage.storage.codecs import Undecodable

MAIN = "__main__"
_LOADED = "__mp_main__"
"""As multiprocessing names a script that is loaded and not run."""
_LOCALS = "<locals>"
_UNRECORDED = frozenset({"running", "lost", "skipped", "cancelled"})
"""Statuses of calls whose arguments are not known; a cancelled one may have begun."""


def rerun(call: Call, record: bool, overrides: Mapping[str, Any]) -> Any:
    """See `Call.rerun`."""
    executed = call.producer or call
    if executed.status in _UNRECORDED:
        raise NotFound(
            f"call {call.id} of {call.task} is {call.status}: its arguments were not recorded, so "
            "it cannot be made again"
        )
    task = find_task(call)
    _warn_if_edited(call, executed, task)
    args, kwargs = _arguments(call, task, overrides)
    try:
        if record:
            return engine.call_anew(named(task, call.task), args, kwargs)
        value = plain_value(task, tuple(args), kwargs)
        return with_values(run_coroutine(value) if task.is_async else value)
    except BaseException as error:
        without_our_frames(error)
        raise


def find_task(call: Call) -> Task[Any, Any]:
    """The task of a recorded call, as it is now.

    Raises
    ------
    NotFound
        It cannot be found; the message says where it was looked for and what to do.
    """
    executed = call.producer or call
    names = dict.fromkeys((call.task, executed.task, executed.function))
    living = [task for name in names for task in memos.living(name)]
    same = [task for task in living if task.code_version == executed.code_version]
    if living:
        return (same or living)[-1]
    for name in filter(None, reversed(names)):
        found = _imported(name, executed.run)
        if found is not None:
            return found
    raise NotFound(f"call {call.id} cannot be made again: {_reason(executed)}")


def be_main() -> None:
    """Let a script that `find_task` has loaded be `__main__`: recorded values name its classes so.

    For a process that has no script of its own.
    """
    loaded = sys.modules.get(_LOADED)
    if loaded is not None:
        sys.modules[MAIN] = loaded


def folders_of(run: Run) -> list[str]:
    """Where the modules of the run's project may be: beside its script, and where it was begun."""
    script = _script_file(run)
    folders = [run.cwd] if script is None else [os.path.dirname(script), run.cwd]
    return [folder for folder in folders if folder and os.path.isdir(folder)]


def _imported(name: str, run: Run) -> Task[Any, Any] | None:
    """The task of that name, its module imported, or the script loaded."""
    module, path = _module_of(name, run)
    found: Any = module
    for part in path:
        found = inspect.getattr_static(found, part, None)
        found = getattr(found, "__func__", found)  # of a static or class method
    return found if isinstance(found, Task) else None


def _module_of(name: str, run: Run) -> tuple[ModuleType | None, list[str]]:
    """The longest beginning of a dotted name that is a module, and the rest of the name."""
    parts = name.split(".")
    if parts[0] in (MAIN, _LOADED):
        return _script(run), parts[1:]
    module: ModuleType | None = None
    with _importing_from(folders_of(run)):
        for count in range(1, len(parts)):
            wanted = ".".join(parts[:count])
            try:
                module = importlib.import_module(wanted)
            except ModuleNotFoundError as error:
                if not f"{wanted}.".startswith(f"{error.name}."):
                    raise  # something that the module needs
                return module, parts[count - 1 :]
    return module, parts[-1:]


def _script(run: Run) -> ModuleType | None:
    """The script of a run as a module: its `if __name__ == "__main__"` part does not run."""
    file = _script_file(run)
    if file is None:
        return None
    here = sys.modules.get(MAIN)
    if here is not None and _is_same_file(getattr(here, "__file__", None), file):
        return here
    known = sys.modules.get(_LOADED)
    if known is not None and _is_same_file(getattr(known, "__file__", None), file):
        return known
    spec = importlib.util.spec_from_file_location(_LOADED, file)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_LOADED] = module
    try:
        with _importing_from(folders_of(run)), _command_line(run.argv):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_LOADED]
        raise
    return module


def _script_file(run: Run) -> str | None:
    if not run.argv or not run.argv[0].endswith((".py", ".pyw")):
        return None
    file = os.path.join(run.cwd, run.argv[0])
    return file if os.path.isfile(file) else None


@contextmanager
def _importing_from(folders: Sequence[str]) -> Generator[None]:
    """A block in which modules are looked for in these folders as well, after all others."""
    new = [folder for folder in folders if folder not in sys.path]
    sys.path.extend(new)
    try:
        yield
    finally:
        for folder in new:
            if folder in sys.path:
                sys.path.remove(folder)


@contextmanager
def _command_line(argv: Sequence[str]) -> Generator[None]:
    """A block in which `sys.argv` is what the script was given: it may be read at its top."""
    before, sys.argv = sys.argv, list(argv)
    try:
        yield
    finally:
        sys.argv = before


def _is_same_file(one: str | None, other: str) -> bool:
    try:
        return one is not None and os.path.samefile(one, other)
    except OSError:
        return False


def _reason(call: Call) -> str:
    name = call.function or call.task
    if _LOCALS in name:
        return (
            f"{name} was defined inside a function, and is not defined in this process now. Call "
            "rerun() where it is, or move it to the top of its module"
        )
    if name.startswith(f"{MAIN}."):
        script = call.run.argv[0] if call.run.argv else ""
        where = f"the script {script}" if script.endswith(".py") else "a notebook or a session"
        return (
            f"{name} was defined in {where}, which has no such task now. Define it in this process "
            "and call rerun() again"
        )
    return (
        f"no task {name} can be imported here. Import the module that defines it, or put its "
        "folder on PYTHONPATH, and call rerun() again"
    )


def _warn_if_edited(call: Call, executed: Call, task: Task[Any, Any]) -> None:
    if task.code_version != executed.code_version:
        warnings.warn(
            f"the code of {task.name} is not what it was in call {call.id}: "
            "what runs now is the present code",
            stacklevel=4,
        )


def named(task: Task[Any, Any], name: str) -> Task[Any, Any]:
    """The task under the name that was recorded: a loaded script has another than one that runs."""
    return task if task.name == name else task.options(name=name)


def _arguments(
    call: Call, task: Task[Any, Any], overrides: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """What to call the function with: recorded values, and others in the place of some.

    Raises
    ------
    TypeError
        A value was recorded, or given, for a parameter that the function does not have.
    MissingObject
        A recorded value that nothing was given for is not stored.
    """
    parameters = inspect.signature(task.__wrapped__, follow_wrapped=False).parameters
    rest = next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
    recorded = call.args
    extra = {name: value for name, value in overrides.items() if name not in parameters}
    unknown = [*(n for n in recorded if n not in parameters), *(() if rest else extra)]
    if unknown:
        raise TypeError(
            f"{task.name} has no parameter {unknown[0]!r}; it has: {', '.join(parameters)}"
        )
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in overrides:
            value = overrides[name]
        elif name in recorded:
            value = _recorded(recorded, name)
        elif parameter.default is not parameter.empty:
            value = parameter.default
        else:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            args.extend(value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs |= value
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kwargs[name] = value
        else:
            args.append(value)
    return args, kwargs | extra


def _recorded(recorded: Mapping[str, Any], name: str) -> Any:
    """The value of an argument, with what to do where there is none."""
    try:
        value = recorded[name]
        if isinstance(value, Secret) and not value.is_known:
            raise MissingObject(f"{name}: the value of {value!r} is not stored")
        return value
    except MissingObject as error:
        raise MissingObject(
            f"{error.message}. Or give a value: rerun({name}=...)", **error.data
        ) from None
    except Undecodable as error:
        if f"{MAIN}." in str(error):
            error.add_note(
                f"tasklineage: {name!r} needs a class of the script that recorded it: call rerun() "
                "there, or use the command `tasklineage rerun`"
            )
        raise
