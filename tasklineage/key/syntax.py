"""The normal form of a function's syntax: what of its source can change a result.

It stands beside the normal form of the bytecode (bytecode.py), is the same under every version of
Python, and needs the source. Not in it: comments, formatting, docstrings, the function's own name,
decorators and defaults (these are looked at as they are bound), annotations, but for those in class
bodies. In it, besides the syntax: which variables come from enclosing functions, the class
that private names belong to, and what else says how the source is compiled.

Whatever a version adds to the syntax tree is left out as long as it is empty.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Any

from xxhash import xxh3_128_digest

from tasklineage.key.bytecode import constant_text

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_SKIPPED = frozenset({"ctx", "type_comment", "kind", "type_ignores"})
_FUTURE_ANNOTATIONS = 0x1000000
_DEFAULTS = frozenset({"defaults", "kw_defaults"})
_TRIES = 20


class Functions:
    """The functions of one text."""

    def __init__(self, text: str) -> None:
        self._nodes: dict[tuple[str, int], list[tuple[FunctionNode, str]]] = {}
        for node, owner in _functions(_parsed(text)):
            name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
            self._nodes.setdefault((name, _first_line(node)), []).append((node, owner))

    def digest(self, code: CodeType) -> bytes:
        """The digest of the function of one of the text's code objects; empty if it is not certain
        which that is.
        """
        nodes = self._nodes.get((code.co_name, code.co_firstlineno), [])
        if len(nodes) > 1:
            nodes = _around(code, nodes)
        digests = {syntax_digest(node, owner, code) for node, owner in nodes}
        return digests.pop() if len(digests) == 1 else b""


class _Parsing:
    """One thread of ours at a time parses."""

    lock = threading.Lock()


def _after_fork() -> None:
    _Parsing.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def _parsed(text: str) -> ast.Module:
    """The syntax tree of a text.

    Of two threads that make one at the same time, CPython 3.11 may give one of them a SystemError,
    for both count the same depth (gh-106905).
    """
    for _ in range(_TRIES):
        with contextlib.suppress(SystemError), _Parsing.lock:
            return ast.parse(text)
    raise ValueError("other threads do not cease to parse")


def module_digest(text: str) -> bytes:
    """The digest of a whole module: what of its source can change what it does.

    Raises
    ------
    SyntaxError, ValueError
        It is no source.
    """
    body = _body_text(_parsed(text).body, is_class=False)
    return xxh3_128_digest(body.encode("utf-8", "surrogatepass"))


def syntax_digest(node: FunctionNode, owner: str, code: CodeType) -> bytes:
    """The digest of a function whose source that node is, and whose code object `code`.

    `owner` is the class in whose body it stands, if any.
    """
    pieces = [
        type(node).__name__,
        repr(sorted(code.co_freevars)),
        repr(bool(code.co_flags & _FUTURE_ANNOTATIONS)),
        repr(sys.flags.optimize > 0),
        _fields_text(node.args, is_class=False, skipped=_DEFAULTS),
    ]
    if isinstance(node, ast.Lambda):
        pieces.append(_text(node.body, is_class=False))
    else:
        pieces.append(_body_text(node.body, is_class=False))
    if owner and _has_private_names(node):
        pieces.append(owner.lstrip("_"))
    return xxh3_128_digest("\n".join(pieces).encode("utf-8", "surrogatepass"))


def _functions(tree: ast.Module) -> Iterator[tuple[FunctionNode, str]]:
    """Every function of a module, at any depth, with the class in which its names are private."""
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, owner = waiting.pop()
        if isinstance(node, FunctionNode):
            yield node, owner
        inside = node.name if isinstance(node, ast.ClassDef) else owner
        waiting.extend((child, inside) for child in ast.iter_child_nodes(node))


def _first_line(node: FunctionNode) -> int:
    """Where its code object says that it begins."""
    decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _text(node: Any, *, is_class: bool) -> str:
    """A part of a syntax tree as text; `is_class` is whether it stands in a class body."""
    if isinstance(node, list):
        texts = [_text(part, is_class=is_class) for part in node]  # pyright: ignore[reportUnknownVariableType]
        return f"[{','.join(texts)}]"
    if not isinstance(node, ast.AST):
        return _constant(node)
    if isinstance(node, ast.Constant):
        return f"Constant({_constant(node.value)})"
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr({_joined(node)})"
    if isinstance(node, ast.AnnAssign) and not is_class:
        return _assignment_text(node)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return _definition_text(node, frozenset({"returns"}), is_class=False)
    if isinstance(node, ast.ClassDef):
        return _definition_text(node, frozenset(), is_class=True)
    if isinstance(node, ast.Lambda):
        return f"Lambda({_fields_text(node, is_class=False)})"
    if isinstance(node, ast.arg):
        return f"arg({node.arg})"
    return f"{type(node).__name__}({_fields_text(node, is_class=is_class)})"


def _fields_text(node: ast.AST, *, is_class: bool, skipped: frozenset[str] = frozenset()) -> str:
    texts: list[str] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if name in _SKIPPED or name in skipped or value is None or value == []:
            continue
        texts.append(f"{name}={_text(value, is_class=is_class)}")
    return ",".join(texts)


def _definition_text(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
    skipped: frozenset[str],
    *,
    is_class: bool,
) -> str:
    """A function or class that is defined inside: its body without the docstring."""
    rest = _fields_text(node, is_class=False, skipped=skipped | {"body"})
    return f"{type(node).__name__}({rest},body={_body_text(node.body, is_class=is_class)})"


def _body_text(body: Sequence[ast.stmt], *, is_class: bool) -> str:
    rest = body[1:] if body and _is_docstring(body[0]) else body
    return _text(list(rest), is_class=is_class)


def _is_docstring(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str)


def _assignment_text(node: ast.AnnAssign) -> str:
    """An assignment without its annotation; one of nothing still makes its name a local."""
    target = _text(node.target, is_class=False)
    if node.value is None:
        return f"AnnAssign(target={target},simple={node.simple})"
    return f"Assign(targets=[{target}],value={_text(node.value, is_class=False)})"


def _joined(node: ast.JoinedStr) -> str:
    """The pieces of an f-string: how literal text is split up differs between versions."""
    texts: list[str] = []
    literal = ""
    for value in node.values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            literal += value.value
            continue
        if literal:
            texts.append(_constant(literal))
        literal = ""
        texts.append(_text(value, is_class=False))
    return ",".join([*texts, _constant(literal)] if literal else texts)


def _constant(value: object) -> str:
    """As in the normal form of bytecode; which characters can be printed depends on the version."""
    return ascii(value) if isinstance(value, str) else constant_text(value)


def _has_private_names(node: ast.AST) -> bool:
    names = (
        value
        for part in ast.walk(node)
        for field in ("id", "attr", "arg", "name", "asname", "names", "module")
        for value in _names(getattr(part, field, None))
    )
    return any(name.startswith("__") and not name.endswith("__") for name in names)


def _names(value: Any) -> list[str]:
    if isinstance(value, list):
        return [one for one in value if isinstance(one, str)]  # pyright: ignore[reportUnknownVariableType]
    return [value] if isinstance(value, str) else []


def _around(
    code: CodeType, nodes: list[tuple[FunctionNode, str]]
) -> list[tuple[FunctionNode, str]]:
    """Of several lambdas on a line, those in whose body the instructions stand."""
    places = [(line, at) for line, _, at, _ in code.co_positions() if line and at is not None]
    bodies = [(node, owner, _span(node)) for node, owner in nodes]
    inside = [p for p in places if any(first <= p < last for _, _, (first, last) in bodies)]
    return [
        (node, owner)
        for node, owner, (first, last) in bodies
        if inside and all(first <= place < last for place in inside)
    ][-1:]


def _span(node: FunctionNode) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the body of a function begins and ends; columns in bytes."""
    parts = [node.body] if isinstance(node, ast.Lambda) else node.body
    last = parts[-1]
    end = (last.end_lineno or last.lineno, last.end_col_offset or last.col_offset)
    return (parts[0].lineno, parts[0].col_offset), end
