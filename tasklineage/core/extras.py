"""Tracked extras: what counts beside code and arguments, and whether it is still what it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from tasklineage.key.code_version import TaskLike, code_version
from tasklineage.key.digest import digest
from tasklineage.key.hidden import Hidden
from tasklineage.key.previews import preview
from tasklineage.storage.records import Code, Condition


def current(track: tuple[Any, ...]) -> tuple[Condition, ...]:
    """The tracked extras with their content as it is now, in the order given."""
    return tuple(_condition(extra) for extra in track)


def records(
    track: tuple[Any, ...], conditions: Iterable[Condition], is_known: Callable[[bytes], bool]
) -> list[Code]:
    """What the extras are, for `why`: those of which that is not recorded yet."""
    return [
        Code(condition.digest, condition.name, _parts(extra, condition))
        for extra, condition in zip(track, conditions, strict=True)
        if not is_known(condition.digest)
    ]


def holds(condition: Condition) -> bool:
    """Whether what a memo depended on is still the same. What cannot be found does not hold."""
    if condition.kind in ("env", "dist"):
        return _text_digest(condition.kind, condition.name) == condition.digest
    if condition.kind == "code":
        found = _find(condition.name)
        return found is not None and _code_digest(found) == condition.digest
    if condition.kind in ("file", "dir"):
        from tasklineage.core import files  # there are some

        return files.holds(condition)
    if condition.kind == "read":
        from tasklineage.core import reads  # likewise

        return reads.holds(condition)
    if condition.kind == "module":
        from tasklineage.core import modules  # likewise

        return modules.holds(condition)
    return False


def _condition(extra: Any) -> Condition:
    if isinstance(extra, str):
        kind, _, name = extra.partition(":")
        return Condition(kind, name, _text_digest(kind, name))
    return Condition("code", _name(extra), _code_digest(extra))


def _parts(extra: Any, condition: Condition) -> tuple[tuple[str, str, bytes, str], ...]:
    """As those of a code version; of a text one part, without it if it is secret."""
    if condition.kind == "code":
        return code_version(extra).parts
    text = _text(condition.kind, condition.name)
    shown = "<secret>" if _is_secret(text) else preview(condition.name, text)
    return (("value", condition.name, condition.digest, shown),)


def _code_digest(thing: Any) -> bytes:
    """What is tracked of a function or module; of a task, its defaults too."""
    return digest(thing) if isinstance(thing, TaskLike) else code_version(thing).digest


def _text_digest(kind: str, name: str) -> bytes:
    """The digest of a text; of one that is secret, one that nobody can guess it by."""
    text = _text(kind, name)
    if _is_secret(text):
        from tasklineage.key.secrets import keyed

        return keyed(digest(text))
    return digest(text)


def _text(kind: str, name: str) -> str | None:
    if kind == "env":
        return os.environ.get(name)
    import importlib.metadata  # slow to import, rarely needed

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_secret(text: str | None) -> bool:
    if not Hidden.in_use:
        return False
    from tasklineage.key.redaction import holds_text

    return holds_text(text)


def _name(thing: Any) -> str:
    module = getattr(thing, "__module__", None)
    if module is None:
        return f"{thing.__name__}:"
    return f"{module}:{getattr(thing, '__qualname__', '')}"


def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split(".") if path else ():
        found = getattr(found, part, None)
    return found
