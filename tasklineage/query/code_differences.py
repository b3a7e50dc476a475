"""What differs between two code versions, by the parts that were recorded of each.

A part that was edited is a cause; what came or went with it, because only the edited one refers to
it, is none. A name that leads elsewhere is a cause, and what it led to is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tasklineage.query.causes import Cause, source_diff
from tasklineage.storage.records import Code

NAMES = "names"
_UNTOLD = frozenset({NAMES, "external", "unbound", "wrapper", "patched", "sink", "written", "root"})
"""Kinds of parts that only a name that leads to them can change."""
_DERIVED = re.compile(r"\.(?:field|member) \d+ (\w+)(?: (?:type|default|default_factory))?")
_UNLABELLED = "\0"
"""What a value holds has no label of its own."""
_IDENTIFIER = re.compile(r"\w+(\.\w+)*")

_CODE = frozenset({"function", "class", "task", "external", "wrapper", "patched"})

Key = tuple[str, str]
"""Kind and name of a part."""


class Side(NamedTuple):
    """One code version, taken apart."""

    parts: Mapping[Key, list[tuple[bytes, str]]]
    """Digest and text of each part; several may have one name."""
    names: Mapping[str, Mapping[str, Key]]
    """By part: what each label of it leads to."""
    modules: Mapping[str, str]
    """By function: its module."""


class _Binding(NamedTuple):
    """A name that leads elsewhere."""

    owner: str
    label: str
    old: Key | None
    new: Key | None


def code_causes(old: Code, new: Code) -> list[Cause]:
    """What differs, in the order of the newer version; several causes are all there."""
    before, after = _side(old), _side(new)
    edited = [key for key in _ordered(before, after) if _is_edited(key, before, after)]
    compiled = _only_compiled_anew(edited, before, after)
    if compiled is not None:
        return [compiled]
    edited = [key for key in edited if not _is_around(key, edited, before, after)]
    fewer = [key for key in edited if _is_fewer(key, before, after)]
    edited = [key for key in edited if key not in fewer]
    owners = {name for _, name in edited}
    bindings = list(_bindings(before, after, owners))
    heads = {b.owner: None for b in bindings if _is_head(b)}
    moved = {(key[1], b.owner) for b in bindings for key in (b.old, b.new) if key is not None}
    bindings = [b for b in bindings if not any(b.owner == m and b.owner != o for m, o in moved)]
    found = [(_edit(key, before, after), _rank(key)) for key in edited]
    found += [(_new(key, after), _rank(key)) for key in _only_in(after, before, owners, bindings)]
    found += [(_gone(key, before), _rank(key)) for key in _only_in(before, after, owners, bindings)]
    found += [(_rebound(b, before, after, new.task), 2) for b in bindings if not _is_head(b)]
    found += [(_head(owner, before, after), 0) for owner in heads]
    found = found or [(_edit(key, before, after), 0) for key in fewer]
    return _unique(found) or list(_reordered(before, after)) or [_untold(new)]


def _side(code: Code) -> Side:
    parts: dict[Key, list[tuple[bytes, str]]] = {}
    names: dict[str, dict[str, Key]] = {}
    modules: dict[str, str] = {}
    for kind, name, digest, text in code.parts:
        if kind != NAMES:
            parts.setdefault((kind, name), []).append((digest, text))
            continue
        owner = name.removeprefix("names of ")
        module, *lines = text.split("\n")
        modules[owner] = module
        for n, line in enumerate(lines):
            label, _, rest = line.partition("\t")
            target_kind, _, target = rest.partition("\t")
            names.setdefault(owner, {})[label or f"{_UNLABELLED}{n}"] = target_kind, target
    return Side(parts, names, modules)


def _ordered(before: Side, after: Side) -> list[Key]:
    return [key for key in after.parts if key in before.parts and _is_told(key)]


def _is_told(key: Key) -> bool:
    return key[0] not in _UNTOLD


def _is_edited(key: Key, before: Side, after: Side) -> bool:
    return sorted(d for d, _ in before.parts[key]) != sorted(d for d, _ in after.parts[key])


def _only_compiled_anew(edited: Sequence[Key], before: Side, after: Side) -> Cause | None:
    """All functions have other bytecode and the same text: another Python has compiled them."""
    functions = [key for key in after.parts if key[0] == "function"]
    if not functions or [key for key in edited if key[0] == "function"] != functions:
        return None
    if len(edited) > len(functions):
        return None
    for key in functions:
        texts = [text for _, text in after.parts[key]]
        if "" in texts or texts != [text for _, text in before.parts[key]]:
            return None
    text = "the source is the same; another version of Python, or of tasklineage, compiled it"
    return Cause("python", "", text=text)


def _is_around(key: Key, edited: Sequence[Key], before: Side, after: Side) -> bool:
    """Whether a function was edited only in a function inside it, which is told by itself."""
    old, new = _different(before.parts[key], after.parts[key])
    inner = f"{key[1]}.<locals>."
    for other in edited:
        if key[0] == other[0] == "function" and other[1].startswith(inner):
            was, now = _different(before.parts[other], after.parts[other])
            if was and now and was in old and old.replace(was, now) == new:
                return True
    return False


def _is_fewer(key: Key, before: Side, after: Side) -> bool:
    """Whether of several parts of one name some came or went, and the others are as they were."""
    old, new = {d for d, _ in before.parts[key]}, {d for d, _ in after.parts[key]}
    return old < new or new < old


def _is_head(binding: _Binding) -> bool:
    """Whether it is a base or the metaclass of a class."""
    return binding.label == "metaclass" or re.fullmatch(r"base \d+", binding.label) is not None


def _head(owner: str, before: Side, after: Side) -> Cause:
    """A class that has other bases, or another metaclass."""
    old, new = (_text(("class", owner), side) for side in (before, after))
    told = f"{old} is now {new}" if old != new else "it has another metaclass"
    return Cause("class", owner, old, new, "", f"class {owner}: {told}")


def _bindings(before: Side, after: Side, edited: set[str]) -> Iterator[_Binding]:
    """Names, in parts that are as they were, that lead to other things."""
    for owner in before.names.keys() & after.names.keys() - edited:
        was, now = before.names[owner], after.names[owner]
        for label in dict.fromkeys((*now, *was)):
            old, new = was.get(label), now.get(label)
            if old != new and not label.startswith(_UNLABELLED):
                binding = _Binding(owner, label, old, new)
                if not _is_told_otherwise(binding, before, after):
                    yield binding


def _is_told_otherwise(binding: _Binding, before: Side, after: Side) -> bool:
    """Whether what it leads, or led, to says it all: that was edited, is new, or is gone."""
    old, new = binding.old, binding.new
    if _is_head(binding):
        return False
    if old is not None and new is not None:
        if {old[0], new[0]} == {"patched", "external"}:
            return old[1] == new[1]  # what was put into it is told
        return old[1] == new[1] and _is_told(old) and _is_told(new)
    if old is None:
        return new is not None and (new[0] not in _CODE or new not in before.parts)
    return old[0] not in _CODE or old not in after.parts


def _only_in(
    one: Side, other: Side, edited: set[str], bindings: Iterable[_Binding]
) -> Iterator[Key]:
    """Parts of one side alone that are there for no other cause.

    That is, not every part that refers to them was edited, or is there on that side alone, or does
    so by a name that leads elsewhere now.
    """
    alone = [key for key in one.parts if key not in other.parts and _is_told(key)]
    told = edited | {name for _, name in alone}
    came = {(binding.owner, binding.label) for binding in bindings}
    for key in alone:
        referrers = [
            (owner, label)
            for owner, labels in one.names.items()
            for label, target in labels.items()
            if target == key
        ]
        if not referrers or any(r[0] not in told and r not in came for r in referrers):
            yield key


def _edit(key: Key, before: Side, after: Side) -> Cause:
    """A part that is in both, and not the same."""
    old, new = _different(before.parts[key], after.parts[key])
    return _made(key, old, new, after)


def _different(old: list[tuple[bytes, str]], new: list[tuple[bytes, str]]) -> tuple[str, str]:
    """The texts of the first of several parts of one name that differ."""
    known_old, known_new = {d for d, _ in old}, {d for d, _ in new}
    gone = [text for digest, text in old if digest not in known_new]
    come = [text for digest, text in new if digest not in known_old]
    return (gone or [""])[0], (come or [""])[0]


def _made(key: Key, old: str, new: str, side: Side) -> Cause:
    kind, name = _kind(key, side), shown_name(key[1])
    if kind in ("function", "class"):
        diff = source_diff(name, old, new)
        text = f"{kind} {name} was edited" if old or new else f"{kind} {name} has other code"
        return Cause(kind, name, old, new, diff, text)
    if kind == "version":
        text = f"version of {name}: {old!r} is now {new!r}"
        return Cause(kind, name, old, new, "", text)
    if kind == "extension":
        return Cause(kind, name, "", "", "", f"the extension module of {name} was built anew")
    told = f"{old} is now {new}" if old != new else f"{new} has other content".lstrip()
    return Cause(kind, name, old, new, "", f"{kind} {name}: {told}")


def _rebound(binding: _Binding, before: Side, after: Side, task: str) -> Cause:
    """A name that leads elsewhere, or became bound or unbound."""
    name = _bound_name(binding, after, task)
    old, new = _target(binding.old, before), _target(binding.new, after)
    diff = ""
    if binding.old and binding.new and binding.old[0] == binding.new[0] == "function":
        diff = source_diff(name, _text(binding.old, before), _text(binding.new, after))
    text = f"name {name}: {old or 'nothing'} is now {new or 'nothing'}"
    return Cause("name", name, old, new, diff, text)


def _bound_name(binding: _Binding, side: Side, task: str) -> str:
    label, owner = binding.label, binding.owner or task
    module = side.modules.get(binding.owner, "")
    if label.startswith("default "):
        return f"{owner}({label.removeprefix('default ')})"
    if module and _IDENTIFIER.fullmatch(label):
        return f"{module}.{label}"
    return shown_name(f"{owner}.{label.removeprefix('.')}")


def _target(key: Key | None, side: Side) -> str:
    """What a name leads to, for people: a value by its text, all else by its name."""
    if key is None or key[0] == "unbound":
        return ""
    if key[0] == "patched":
        return f"{key[1]} (with something of yours in it)"
    return _text(key, side) if key[0] == "value" else shown_name(key[1])


def _text(key: Key, side: Side) -> str:
    return side.parts.get(key, [(b"", "")])[0][1]


def _new(key: Key, side: Side) -> Cause:
    """A part that was not there."""
    kind, name, text = _kind(key, side), shown_name(key[1]), _text(key, side)
    what = f": {text}" if kind not in ("function", "class") and text else ""
    return Cause(kind, name, "", text, "", f"{kind} {name} is new{what}")


def _gone(key: Key, side: Side) -> Cause:
    """A part that is no longer there."""
    kind, name, text = _kind(key, side), shown_name(key[1]), _text(key, side)
    return Cause(kind, name, text, "", "", f"{kind} {name} is no longer there")


def _kind(key: Key, side: Side) -> str:
    """What users call a part."""
    kind, name = key
    if kind not in ("value", "opaque", "carrier"):
        return kind
    if name.endswith(")"):
        return "default"
    owner = name.rpartition(".")[0]
    while owner:
        if ("class", owner) in side.parts:
            return "attribute"
        if ("function", owner) in side.parts:
            return "closure" if "<locals>" in owner else "attribute"
        owner = owner.rpartition(".")[0]
    return "closure" if "<locals>" in name else "global"


def shown_name(name: str) -> str:
    """The name of a part as users would write it."""
    return _DERIVED.sub(r".\1", name)


def _rank(key: Key) -> int:
    """Of several causes of one name, the one of the lowest rank is told."""
    return 1 if _DERIVED.search(key[1]) else 0


def _unique(found: Iterable[tuple[Cause, int]]) -> list[Cause]:
    """One cause for each name; of a dataclass's field the attribute, of a namedtuple its own."""
    best: dict[str, tuple[Cause, int]] = {}
    for cause, rank in found:
        known = best.get(cause.name)
        if known is None or rank < known[1]:
            best[cause.name] = cause, rank
        elif rank == known[1] and not known[0].new and not cause.old:
            best[cause.name] = _moved(known[0], cause), rank
        elif rank == known[1] and not known[0].old and not cause.new:
            best[cause.name] = _moved(cause, known[0]), rank
    causes = [cause for cause, _ in best.values()]
    return [c for c in causes if not c.name.startswith("namedtuple_")] or causes


def _moved(old: Cause, new: Cause) -> Cause:
    """What is gone in one place and new in another."""
    told = f"{old.old} is now {new.new}" if old.old != new.new else "it stands in another place"
    return new._replace(old=old.old, text=f"{new.kind} {new.name}: {told}")


def _reordered(before: Side, after: Side) -> Iterator[Cause]:
    """Parts of one name that have changed places: two closures of one function, swapped."""
    for key in _ordered(before, after):
        pairs = zip(before.parts[key], after.parts[key], strict=False)
        for (was, old), (now, new) in pairs:
            if was != now:
                yield _made(key, old, new, after)


def _untold(code: Code) -> Cause:
    text = f"the code of {code.task} is not what it was, in a way that its parts do not tell"
    return Cause("code", code.task, text=text)
