"""The normal form of bytecode, and what is read from it."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import dis
import inspect
import json.decoder
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any

import pytest

from tasklineage.key.bytecode import Block, constant_text, normal_text
from tasklineage.key.references import COUNTER, READ, Reference, body_digest, facts_of

MODULES = [argparse, ast, json.decoder, textwrap, dataclasses]


def code_of(text: str, name: str = "f") -> CodeType:
    space: dict[str, Any] = {}
    exec(textwrap.dedent(text), space)
    code: CodeType = space[name].__code__
    return code


def same(one: str, two: str) -> bool:
    return body_digest(code_of(one)) == body_digest(code_of(two))


def functions(code: CodeType) -> Iterator[CodeType]:
    """Every code object of a function below a module's, in order."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & inspect.CO_OPTIMIZED:
                yield constant
            yield from functions(constant)


def compiled(module: ModuleType) -> CodeType:
    return compile(inspect.getsource(module), "before", "exec")


class _Bare(ast.NodeTransformer):
    """Takes annotations and docstrings away from functions."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.returns = None
        arguments = node.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            argument.annotation = None
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_formatting_comments_docstrings_and_annotations_do_not_count(module: ModuleType) -> None:
    tree = _Bare().visit(ast.parse(inspect.getsource(module)))
    bare = compile(ast.unparse(ast.fix_missing_locations(tree)), "after", "exec")
    before, after = list(functions(compiled(module))), list(functions(bare))
    assert len(before) == len(after) > 5
    pairs = zip(before, after, strict=True)
    assert [b.co_qualname for b, a in pairs if body_digest(b) != body_digest(a)] == []


class _Edit(ast.NodeTransformer):
    """Changes the constant, attribute, operator or comparison of a given number."""

    def __init__(self, number: int) -> None:
        self.left = number

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        return node  # defaults are not in the code object

    def visit_While(self, node: ast.While) -> ast.AST:
        node.body = [self.visit(statement) for statement in node.body]
        return node  # `while 1` and `while "changed"` are the same

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        change = {
            ast.Constant: lambda n: setattr(n, "value", "changed"),
            ast.Attribute: lambda n: setattr(n, "attr", f"{n.attr}_changed"),
            ast.BinOp: lambda n: setattr(n, "op", ast.MatMult()),
            ast.Compare: lambda n: n.ops.__setitem__(0, ast.GtE()),
            ast.Raise: lambda n: setattr(n, "exc", ast.Name("changed", ast.Load())),
        }.get(type(node))
        if change is not None:
            self.left -= 1
            if self.left == 0:
                change(node)
        return node


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_edits_of_a_function_count() -> None:
    tree = ast.parse(inspect.getsource(json.decoder))
    texts = [
        ast.unparse(_Bare().visit(n)) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)
    ]
    compared = 0
    for text in texts:
        before = next(functions(compile(text, "before", "exec")))
        for number in range(1, 15):
            edit = _Edit(number)
            edited = edit.visit(ast.parse(text))
            code = compile(ast.fix_missing_locations(edited), "after", "exec")
            if edit.left <= 0 and ast.unparse(edited) != text:
                compared += 1
                after = next(functions(code))
                assert body_digest(before) != body_digest(after), ast.unparse(edited)
    assert compared > 50


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_names_and_constants_are_those_that_dis_shows(module: ModuleType) -> None:
    for code in functions(compiled(module)):
        block = Block(code, None, "f")
        names = [block.name(i) for i in block.instructions if block.name(i)]
        shown = [i.argval for i in dis.get_instructions(code) if i.opcode in dis.hasname]
        assert set(names) <= set(shown)
        assert len(names) <= len(shown)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("def f(a): x = a; return x", "def f(a): y = a; return y"),
        ("def f(a): return [i for i in a]", "def f(a): return [j for j in a]"),
        ("def f(a):\n  def g(): return a\n  return g", "def f(a):\n  def h(): return a\n  return h"),
        ("def f(a): return 1 if a else 2", "def f(a):\n  return (\n    1\n    if a\n    else 2\n  )"),
        ("def f(a: int) -> str: return a", "def f(a): return a"),
        ("def f(a):\n  def g(x: a, *y: int, k: str = 1) -> a: pass", "def f(a):\n  def g(x, *y, k=1): pass"),
        ("def f():\n  '''Doc.'''\n  return 1", "def f():\n  return 1"),
        ("def f():\n  class A:\n    '''Doc.'''\n    x = 1", "def f():\n  class A:\n    x = 1"),
        ("def f():\n  b = c = 0\n  def g(): return b, c", "def f():\n  y = x = 0\n  def g(): return y, x"),
        ("def f():\n  class A:\n    def m(self): return __class__", "def f():\n\n\n  class A:\n    def m(self): return __class__"),
    ],
)  # fmt: skip
def test_what_cannot_change_a_result_does_not_count(one: str, two: str) -> None:
    assert same(one, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("def f(a): return a", "def f(b): return b"),
        ("def f(a): return 1", "def f(a): return True"),
        ("def f(a): return 1.0", "def f(a): return 1"),
        ("def f(a): return 0.0", "def f(a): return -0.0"),
        ("def f(a): return 'a'", "def f(a): return b'a'"),
        ("def f(a): return a in {1, 2}", "def f(a): return a in (1, 2)"),
        ("def f(a): return a.x", "def f(a): return a.y"),
        ("def f(a): return X", "def f(a): return Y"),
        ("def f(a): return a", "async def f(a): return a"),
        ("def f(a): yield a", "def f(a): return a"),
        ("def f(a, b): return b", "def f(a, *, b): return b"),
        ("def f(a, b): return b", "def f(a, /, b): return b"),
        ("def f(*a): return a", "def f(a): return a"),
        ("def f(a): x = y = a; return x - y", "def f(a): x = a; y = x; return y - a"),
        (
            "def f(a):\n  def g(x): return x\n  return g",
            "def f(a):\n  def g(y): return y\n  return g",
        ),
        (
            "def f(a):\n  try: a()\n  except KeyError: pass",
            "def f(a):\n  try: a()\n  except ValueError: pass",
        ),
        ("def f(a):\n  try: a()\n  finally: a.x()", "def f(a):\n  a()\n  a.x()"),
        ("def f(a):\n  while a: a()", "def f(a):\n  if a: a()"),
        ("def f(a):\n  def g(x=1): pass", "def f(a):\n  def g(x=2): pass"),
        ("def f(a):\n  x = 1\n  return locals()", "def f(a):\n  y = 1\n  return locals()"),
    ],
)
def test_what_can_change_a_result_counts(one: str, two: str) -> None:
    assert not same(one, two)


def test_constants_of_different_types_have_different_texts() -> None:
    values = [0, False, 0.0, -0.0, "0", b"0", None, (), (0,), ((0,),), frozenset(), 0j, -0.0j, ...]
    assert len({constant_text(value) for value in values}) == len(values)


def test_sets_of_constants_have_no_order() -> None:
    assert constant_text(frozenset({"a", "b", "c"})) == constant_text(frozenset({"c", "b", "a"}))


def test_huge_integers_have_a_text() -> None:
    assert constant_text(10**10_000) != constant_text(10**10_000 + 1)


def references(function: Callable[..., Any]) -> set[tuple[str, str, str]]:
    facts = facts_of(function.__code__)
    return {(r.kind, ".".join((r.name, *r.chain)), r.use) for r in facts.references}


def test_chains_of_attributes_are_followed() -> None:
    def f(x: Any) -> Any:
        return a.b.c(x) + d[x].e + a.b  # type: ignore[name-defined]  # noqa: F821

    assert references(f) == {
        ("global", "a.b.c", READ), ("global", "d", READ), ("global", "a.b", READ),
    }  # fmt: skip


def test_imports_in_the_body_are_followed_through_locals() -> None:
    def f(x: Any) -> Any:
        import one.two
        import three.four as five
        from six import eight as nine
        from six import seven

        from . import ten

        def inner() -> Any:
            return one.two.f(x)

        return inner, five.g, seven, nine.h, ten.i

    assert references(f) == {
        ("import", "one.two.f", READ), ("import", "three.four.g", READ),
        ("import", "six.seven", READ), ("import", "six.eight.h", READ), ("import", "..ten.i", READ),
    }  # fmt: skip
    assert facts_of(f.__code__).imports == ("one.two", "three.four", "six", ".")


def test_names_of_nested_functions_are_known() -> None:
    def f() -> Any:
        def inner() -> None: ...

        return inner

    assert any(name.endswith("f.<locals>.inner") for name in facts_of(f.__code__).nested)


def test_writes_are_told_from_reads() -> None:
    code = code_of(
        """
        def f(x):
            global n
            n += 1
            log.append(x if x else 2)
            log.extend(y for y in x)
            counts[x] = 1
            counts["n"] += x
            config.rate = 3
            module.log.add(x)
            kept = other.append(x)
            last = taken.pop()
            both.append(1)
            return both
        """
    )
    found = facts_of(code)
    uses = {(".".join((r.name, *r.chain)), r.use) for r in found.references}
    assert uses == {
        ("n", COUNTER), ("log.append", "called"), ("log.extend", "called"), ("counts", "item"),
        ("counts", "updated"), ("config.rate", "store"), ("module.log.add", "called"), ("other.append", READ),
        ("taken.pop", READ), ("both.append", "called"), ("both", READ),
    }  # fmt: skip
    assert found.stored == {"n"}


def test_a_cell_that_is_counted_up_is_a_write() -> None:
    count, seen = 0, list[int]()

    def f(x: int) -> int:
        nonlocal count
        count += 1
        seen.append(x)
        return x

    assert references(f) == {("cell", "count", COUNTER), ("cell", "seen.append", "called")}


def test_super_refers_to_the_class() -> None:
    class A:
        def m(self) -> Any:
            return super().__init__()

    assert ("cell", "__class__", READ) in references(A.m)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("def f(g): return g.__name__", {"names"}),
        ("def f(g): return type(g).__name__", set()),
        ("def f(g): return g.__class__.__qualname__", set()),
        ("def f(g): return g.__doc__", {"docs"}),
        ("def f(g):\n  import typing\n  return typing.get_type_hints(g)", {"annotations"}),
        ("def f(g):\n  import sys\n  return sys._getframe(1)", {"frames"}),
        ("def f(g):\n  import inspect\n  return inspect.stack()", {"frames"}),
        ("def f(g):\n  import numpy\n  return numpy.stack(g)", set()),
        ("def f(g): return g.__subclasses__()", {"subclasses"}),
    ],
)
def test_reading_what_a_function_says_of_itself_is_noticed(text: str, reads: set[str]) -> None:
    assert facts_of(code_of(text)).reads == reads


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("def f(g, n): return getattr(g, n)", 1),
        ("def f(g): return getattr(g, 'x')", 0),
        ("def f(g): return getattr(g, 'x', None)", 0),
        ("def f(n): return getattr(g, n)", 0),  # all of g counts
        ("def f(n):\n  from importlib import import_module\n  return import_module(n)", 1),
    ],
)
def test_computed_names_are_reported(text: str, count: int) -> None:
    assert len(facts_of(code_of(text)).unresolved) == count


def test_getattr_with_a_constant_is_an_attribute() -> None:
    facts = facts_of(code_of("def f(x): return getattr(g, 'a') + getattr(x, 'b')"))
    assert Reference("global", "g", ("a",)) in facts.references


def test_the_normal_form_can_be_read() -> None:
    text = normal_text(Block(code_of("def f(a):\n  b = a\n  return b"), None, "f"))
    assert text.splitlines()[0].split() == ["{", "0", "1", "0", "0", "a"]
    assert "v0" in text
    assert "v1" in text
    assert " b" not in text
