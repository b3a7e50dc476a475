"""Options of a command from the signature of a function, for `tl.cli(main)` and `run f.py:main`.

A parameter `learning_rate: float = 0.1` becomes `--learning-rate`, with the default taken from
`TASKLINEAGE_PARAM_LEARNING_RATE` where that is set; `bool` becomes `--x/--no-x`. typer reads the
command line and writes the help page; what the texts mean is decided in `convert.py`, so that it is
the same for an option, the environment and JSON. Both are imported where they are used: `tl.cli` is
part of `import tasklineage`.
"""

from __future__ import annotations

import inspect
import keyword
import os
import sys
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tasklineage.cli.failures import INTERRUPTED, report
from tasklineage.errors import ConfigError

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_ENVIRONMENT = "TASKLINEAGE_PARAM_"


class Parameter(NamedTuple):
    """One parameter of a function, as an option."""

    name: str
    option: str
    """`--learning-rate`."""
    kind: Any
    """The type that its text is converted to."""
    default: Any
    """`inspect.Parameter.empty` where it is required."""

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty

    @property
    def variable(self) -> str:
        """The environment variable that holds its default."""
        return _ENVIRONMENT + self.option[2:].replace("-", "_").upper()


def cli(function: Callable[..., Any], *, name: str | None = None) -> Any:
    """Run `function` with parameters from the command line, in a run named after the script.

    For the end of a script: `if __name__ == "__main__": tl.cli(main)`. The options follow from the
    signature; `--help` lists them. A list, dict, dataclass or pydantic model is given as JSON or
    as `@file.json`. `TASKLINEAGE_PARAM_<NAME>` is the default of `--name`.

    Parameters
    ----------
    function
        A function or a task, also an `async` one.
    name
        The name of the run, if not the script's.

    Returns
    -------
    What the function returns.

    Raises
    ------
    SystemExit
        With 2 for a wrong command line, 1 when the function raises (its traceback is on stderr),
        130 when it is interrupted, 0 after `--help`.
    ConfigError
        A parameter cannot be given on a command line.

    Examples
    --------
    >>> def main(rate: float = 0.1, verbose: bool = False) -> None: ...
    >>> [parameter.option for parameter in parameters_of(main)]
    ['--rate', '--verbose']
    """
    values = parse(function, sys.argv[1:], Path(sys.argv[0]).name)
    return perform(function, values, name=name)


def perform(
    function: Callable[..., Any],
    values: Mapping[str, Any],
    *,
    name: str | None = None,
    tags: Sequence[str] = (),
    executor: Any = None,
) -> Any:
    """Call `function` inside a run that records `values` as its parameters.

    An exception ends the process with code 1 after its traceback, without frames of this package.
    """
    from tasklineage.core.run import run

    try:
        with run(name, params=values, tags=tags, executor=executor):
            return _call(function, values)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001  # the user's code
        raise SystemExit(report(error)) from None


def parse(
    function: Callable[..., Any],
    args: Sequence[str],
    program: str,
    epilog: str = "",
    *,
    else_: Any = inspect.Parameter.empty,
) -> dict[str, Any]:
    """The values of the function's parameters that `args` stand for, defaults included.

    With `else_`, that is the default of every parameter, and the environment plays no part.

    Raises
    ------
    SystemExit
        After `--help`, or with 2 when `args` do not fit.
    ConfigError
        A parameter cannot be given on a command line.
    """
    import typer
    from typer.main import get_command

    from tasklineage.cli.convert import CannotConvert

    parameters = parameters_of(function)
    uses_environment = else_ is inspect.Parameter.empty
    if not uses_environment:
        parameters = [parameter._replace(default=else_) for parameter in parameters]
    values: dict[str, Any] = {}

    def collect(**texts: Any) -> None:
        for parameter in parameters:
            try:
                values[parameter.name] = _value(parameter, texts[parameter.name])
            except CannotConvert as error:
                raise typer.BadParameter(str(error), param_hint=parameter.option) from error

    _declare(collect, parameters, uses_environment=uses_environment)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    summary = (inspect.getdoc(function) or "").partition("\n\n")[0]
    settings = {"help_option_names": _help_names(parameters)}
    app.command(help=summary, epilog=epilog, context_settings=settings)(collect)
    try:
        get_command(app)(list(args), prog_name=program)
    except SystemExit as ended:
        if ended.code or len(values) < len(parameters) or _asks_for_help(args, parameters):
            raise
    return values


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a function or task that can be options; `*args` and `**kwargs` cannot.

    Raises
    ------
    ConfigError
        Two parameters would be the same option.
    """
    hints = _hints(function)
    found = [
        Parameter(p.name, _option(p.name), _kind(p, hints), p.default)
        for p in inspect.signature(function).parameters.values()
        if p.kind not in _VARIADIC
    ]
    names = [parameter.option for parameter in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two parameters of {_title(function)} would be {twice}: rename one")
    return found


def _call(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    signature = inspect.signature(function)
    positional = [
        values[p.name] for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY
    ]
    named = {
        p.name: values[p.name]
        for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    result = function(*positional, **named)
    return _awaited(result) if inspect.isawaitable(result) else result


def _awaited(awaitable: Awaitable[Any]) -> Any:
    import asyncio

    async def value() -> Any:
        return await awaitable

    return asyncio.run(value())


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, resolved; as they stand where a name in them is not there at run time."""
    plain = inspect.unwrap(function)
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except (NameError, AttributeError, TypeError):
        return {k: v for k, v in inspect.get_annotations(plain).items() if not isinstance(v, str)}


def _kind(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    """The annotation; without one, the type of the default, where 1 may become 0.5."""
    if parameter.name in hints:
        return hints[parameter.name]
    default = parameter.default
    if default is None or default is parameter.empty:
        return Any
    return int | float if type(default) is int else type(default)


def _option(name: str) -> str:
    """`--learning-rate` for `learning_rate`; `--lambda` for `lambda_`."""
    bare = name.rstrip("_")
    plain = bare if keyword.iskeyword(bare) else name
    return "--" + plain.strip("_").replace("_", "-")


def _value(parameter: Parameter, text: Any) -> Any:
    from tasklineage.cli.convert import CannotConvert, from_text

    if text is None:
        if parameter.is_required:
            raise CannotConvert(f"a value is needed: {parameter.option}, or {parameter.variable}")
        return parameter.default
    return from_text(text, parameter.kind) if isinstance(text, str) else text


def _declare(
    collect: Callable[..., None], parameters: Sequence[Parameter], *, uses_environment: bool
) -> None:
    """Give `collect` the signature from which typer makes the options.

    Every option but a flag is a text for typer, so that its defaults and conversions, which differ
    between its versions, play no part.
    """
    import typer

    from tasklineage.cli.convert import describe, is_flag

    declared: list[inspect.Parameter] = []
    for parameter in parameters:
        flag = is_flag(parameter.kind)
        option = typer.Option(
            None,
            f"{parameter.option}/--no-{parameter.option[2:]}" if flag else parameter.option,
            envvar=parameter.variable if uses_environment else None,
            metavar=None if flag else describe(parameter.kind),
            show_default=False,
            help="required" if parameter.is_required else f"default: {_shown(parameter.default)}",
        )
        annotation = bool | None if flag else str | None
        declared.append(
            inspect.Parameter(
                parameter.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=option,
                annotation=annotation,
            )
        )
    collect.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    collect.__annotations__ = {p.name: p.annotation for p in declared}


def _shown(default: Any) -> str:
    return str(default) if isinstance(default, str | os.PathLike) else repr(default)


def _help_names(parameters: Sequence[Parameter]) -> list[str]:
    taken = any(parameter.option == "--help" for parameter in parameters)
    return [] if taken else ["--help"]


def _asks_for_help(args: Sequence[str], parameters: Sequence[Parameter]) -> bool:
    return not parameters and "--help" in args


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))
