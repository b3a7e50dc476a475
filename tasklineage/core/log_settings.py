"""How a program logs, on its way to worker processes, where its script does not run again."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, NamedTuple


class LogSettings(NamedTuple):
    """What decides which records there are, and how a line of them reads."""

    levels: tuple[tuple[str, int], ...]
    """Loggers whose level was set, and theirs. The root is first, with an empty name."""
    disabled: int
    """The level up to which nothing is logged (`logging.disable`)."""
    line: tuple[str | None, str | None] | None
    """Format of lines and of dates, if the root has a handler that writes lines."""


def log_settings() -> LogSettings | None:
    """Those of this process; None where nobody has imported `logging`."""
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    root, manager = logging.root, logging.root.manager
    named = [
        (name, one.level)
        for name, one in list(manager.loggerDict.items())
        if getattr(one, "level", 0)  # others are places in the tree
    ]
    return LogSettings((("", root.level), *named), manager.disable, _line(logging, root))


def apply_log_settings(settings: LogSettings | None) -> None:
    """Log as another process does; levels that this process has set by itself stay."""
    before = _Applied.settings
    if settings is None or settings is before or settings == before:
        return
    import logging

    applied = dict(before.levels) if before is not None else {"": logging.root.level}
    wanted = {**dict.fromkeys(applied, logging.NOTSET), **dict(settings.levels)}
    for name, level in wanted.items():
        logger = logging.getLogger(name)
        if logger.level in (logging.NOTSET, applied.get(name)):
            logger.setLevel(level)
    logging.disable(settings.disabled)
    if _Applied.handler is not None:
        logging.root.removeHandler(_Applied.handler)
        _Applied.handler = None
    if settings.line is not None:
        _Applied.handler = logging.StreamHandler(_Stderr())
        _Applied.handler.setFormatter(logging.Formatter(*settings.line))
        logging.root.addHandler(_Applied.handler)
    _Applied.settings = settings


def _line(logging: Any, root: Any) -> tuple[str | None, str | None] | None:
    """Of its first handler that writes to a stream; the message alone, for other formatters."""
    for handler in root.handlers:
        if isinstance(handler, logging.FileHandler):
            continue
        if isinstance(handler, logging.StreamHandler):
            formatter = handler.formatter
            is_plain = type(formatter) is logging.Formatter
            if is_plain and type(formatter._style) is logging.PercentStyle:
                return formatter._fmt, formatter.datefmt
            return None, None
    return None


class _Stderr:
    """Where `sys.stderr` is at the time: while calls are in flight, it is replaced."""

    def write(self, text: str) -> int:
        stream = sys.stderr
        return len(text) if stream is None else stream.write(text)

    def flush(self) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()


class _Applied:
    """What this process has taken over from another."""

    settings: ClassVar[LogSettings | None] = None
    handler: ClassVar[Any] = None
