"""Small programs made at random, with edits whose effect is known.

A program is a list of items: constants, functions, classes, tasks. Each belongs to a module and
refers to items before it, by some form of import; the last is the task `run`. What an item gives
is a tuple of its own numbers and of what the items give that it refers to, so every change of
something that is reached shows in the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hypothesis import strategies as st

MODULES = ("alpha", "beta", "gamma", "main")
FORMS = (
    "module", "module as", "from", "from as", "getattr", "star", "body module", "body from",
)  # fmt: skip


class Kind(NamedTuple):
    """How an item of a kind is written and used; `$` stands for its number."""

    text: str
    use: str
    is_function: bool = False
    """Whether it may stand anywhere in its module, with imports in its body."""
    silent: frozenset[int] = frozenset()
    """Its numbers that cannot change what it gives."""

    def slots(self) -> list[int]:
        """Its numbers."""
        return [k for k in range(3) if f"{{n{k}}}" in self.text]


_FUNCTION = "{doc}{imports}    {local} = ({n0}, {refs})\n    return {local}\n"

KINDS: dict[str, Kind] = {
    "integer": Kind("i$ = {n0}\n", "i$"),
    "list": Kind("i$ = [1, {n0}]\ni$.append({n1})\n", "list(i$)"),
    "dict": Kind("i$ = {{'a': [{n0}], 'b': {n1}}}\n", "i$['a'], i$['b']"),
    "set": Kind("i$ = {{1, {n0}, 'a', 'b', {n1} + 100}}\n", "sorted(map(str, i$))"),
    "text": Kind("i$ = 't{n0}' + str({n1})\n", "i$"),
    "regex": Kind("i$ = re.compile('a{n0}')\n", "i$.pattern"),
    "namespace": Kind("i$ = types.SimpleNamespace(a={n0})\n", "i$.a"),
    "array": Kind("i$ = numpy.arange({n0} + 1)\n", "i$.tolist()"),
    "enum": Kind("class i$(enum.Enum):\n    A = {n0}\n    B = 10 + {n1}\n", "[m.value for m in i$]"),
    "function": Kind("def i$(x{note}, d={n1}, *, k={n2}):\n" + _FUNCTION.replace("{n0}", "{n0}, d, k"), "i$(x)", True),
    "generator": Kind("def i$(x):\n{doc}{imports}    yield {n0}\n    yield {refs}\n", "tuple(i$(x))", True),
    "comprehension": Kind("def i$(x):\n{doc}{imports}    return [({n0}, {local}, {refs}) for {local} in range(2)]\n", "i$(x)", True),
    "recursive": Kind("def i$(x):\n{doc}{imports}    return ({n0}, {refs}, i$(x - 3)) if x > 0 else {n1}\n", "i$(x)", True),
    "sink": Kind("log$ = [{n1}]\ndef i$(x):\n{doc}    log$.append(x)\n    return {n0}, {refs}\n", "i$(x)", True, frozenset({1})),
    "lambda": Kind("i$ = lambda x: ({n0}, {refs})\n", "i$(x)"),
    "closure": Kind("def make$(n):\n    def inner(x{note}):\n        {local} = n\n        return ({n0}, {local}, {refs})\n    return inner\ni$ = make$({n1})\n", "i$(x)"),
    "decorated": Kind("def deco$(n):\n    def decorate(function):\n        @functools.wraps(function)\n        def wrapper(x):\n            return n, function(x)\n        return wrapper\n    return decorate\n\n@deco$({n1})\ndef i$(x):\n" + _FUNCTION, "i$(x)"),
    "cached": Kind("@functools.lru_cache\ndef i$(x):\n" + _FUNCTION, "i$(x)"),
    "dispatched": Kind("@functools.singledispatch\ndef i$(x):\n    return {n1}\n@i$.register\ndef _(x: int):\n" + _FUNCTION, "i$(x)"),
    "partial": Kind("i$ = functools.partial(lambda a, x: (a, {refs}), {n0})\n", "i$(x)"),
    "table": Kind("i$ = {{'a': lambda x: ({n0}, {refs}), 'b': {n1}}}\n", "i$['a'](x), i$['b']"),
    "manager": Kind("@contextlib.contextmanager\ndef i$(x):\n{doc}    yield {n0}, {refs}\n", "i$(x).__enter__()"),
    "class": Kind("class i$:\n    a = {n0}\n    def __init__(self, n={n1}):\n        self.n = n\n    @property\n    def p(self):\n        return self.a, self.n\n    def m(self, x):\n    {doc}        return self.p, {refs}\n    def unused(self):\n        return {n2}\n", "i$().m(x)"),
    "subclass": Kind("class base$:\n    b = {n1}\n    def m(self, x):\n        return self.b, self.c()\nclass i$(base$):\n    def c(self):\n        return {n0}\n    def m(self, x):\n        return super().m(x), {refs}\n", "i$().m(x)"),
    "dataclass": Kind("@dataclasses.dataclass\nclass i$:\n    a: int = {n0}\n    b: list = dataclasses.field(default_factory=lambda: [{n1}])\n    def m(self, x):\n        return repr(self), {refs}\n", "i$().m(x)"),
    "instance": Kind("class class$:\n    def __init__(self, n):\n        self.n = n\n    def __call__(self, x):\n        return {n0}, self.n, {refs}\ni$ = class$({n1})\n", "i$(x)"),
    "task": Kind("@task(tags=('t{blank}',))\ndef i$(x{note}, d={n1}):\n" + _FUNCTION.replace("{n0}", "{n0}, d"), "i$(x)", True),
    "versioned": Kind("@task(version='{n0}')\ndef i$(x):\n{imports}    return {n0}\n", "i$(x)", True),
}  # fmt: skip

_HEAD = """\
import contextlib, dataclasses, enum, functools, re, types
import numpy
from tasklineage import task
"""


class Ref(NamedTuple):
    """A use of an earlier item."""

    target: int
    form: int


@dataclass(frozen=True)
class Item:
    """A definition."""

    kind: str
    module: int
    numbers: tuple[int, ...]
    refs: tuple[Ref, ...] = ()
    looks: tuple[int, ...] = (0, 0, 0, 0, 0)
    """What cannot matter: its comment, docstring, local, blank lines, annotation."""


@dataclass(frozen=True)
class Program:
    """Items, the last of which is the task `run`, and what else stands in the modules."""

    items: tuple[Item, ...]
    unused: tuple[int, ...] = (0, 0, 0, 0)
    """How many names that nobody uses are in each module."""
    turned: frozenset[int] = field(default_factory=frozenset)
    """Modules in which functions stand at the end, in reverse order."""

    def reached(self) -> frozenset[int]:
        """Indices of the items that `run` reaches."""
        found: set[int] = set()
        waiting = [len(self.items) - 1]
        while waiting:
            n = waiting.pop()
            if n not in found:
                found.add(n)
                if self.items[n].kind != "versioned":
                    waiting += [ref.target for ref in self.items[n].refs]
        return frozenset(found)

    def files(self) -> dict[str, str]:
        """The text of each module."""
        return {f"{name}.py": self._module(n) for n, name in enumerate(MODULES)}

    def _module(self, module: int) -> str:
        inside = [n for n, item in enumerate(self.items) if item.module == module]
        if module in self.turned:
            late = [n for n in inside if KINDS[self.items[n].kind].is_function]
            inside = [n for n in inside if n not in late] + late[::-1]
        imports = dict.fromkeys(line for n in inside for line in self._imports(n, in_body=False))
        unused = [
            f"def unused{module}{n}(x):\n    return x + {n}\nUNUSED{module}{n} = [{n}]"
            for n in range(self.unused[module])
        ]
        texts = [self._definition(n) for n in inside]
        end = f"run = i{len(self.items) - 1}" if module == len(MODULES) - 1 else ""
        return "\n".join([_HEAD, *imports, *unused, *texts, end, ""])

    def _definition(self, n: int) -> str:
        item = self.items[n]
        kind, (comment, doc, local, blank, note) = KINDS[item.kind], item.looks
        numbers = {f"n{k}": number for k, number in enumerate(item.numbers)}
        body = "".join(f"    {line}\n" for line in self._imports(n, in_body=True))
        text = kind.text.replace("$", str(n)).format(
            refs=", ".join(self._uses(n)) or "()", imports=body, local=f"local{local}",
            doc=f"    'Text {doc}.'\n" if doc else "", note=f": 'note{note}'" if note else "",
            blank=blank, **numbers,
        )  # fmt: skip
        above = f"# remark {comment}\n" if comment else ""
        return "\n" * blank + above + text

    def _imports(self, n: int, *, in_body: bool) -> Iterator[str]:
        for _, form, module, name in self._foreign(n):
            if form.startswith("body") == in_body:
                yield {
                    "module": f"import {module}",
                    "module as": f"import {module} as as_{module}",
                    "from": f"from {module} import {name}",
                    "from as": f"from {module} import {name} as as_{name}",
                    "getattr": f"import {module}",
                    "star": f"from {module} import *",
                    "body module": f"import {module} as in_{module}",
                    "body from": f"from {module} import {name} as in_{name}",
                }[form]

    def _foreign(self, n: int) -> Iterator[tuple[int, str, str, str]]:
        """The references to other modules: index, form of import, module, name."""
        item = self.items[n]
        takes_body = "{imports}" in KINDS[item.kind].text
        for target, form in item.refs:
            other = self.items[target].module
            if other != item.module:
                forms = FORMS if takes_body else FORMS[:6]
                yield target, forms[form % len(forms)], MODULES[other], f"i{target}"

    def _uses(self, n: int) -> Iterator[str]:
        foreign = {(t, f): (m, name) for t, f, m, name in self._foreign(n)}
        forms = {t: [f for other, f in foreign if other == t] for t, _ in foreign}
        for target, _ in self.items[n].refs:
            name = f"i{target}"
            for form in forms.get(target, ["same"])[:1]:
                module = MODULES[self.items[target].module]
                name = {
                    "module": f"{module}.{name}",
                    "module as": f"as_{module}.{name}",
                    "from as": f"as_{name}",
                    "getattr": f"getattr({module}, '{name}')",
                    "body module": f"in_{module}.{name}",
                    "body from": f"in_{name}",
                }.get(form, name)
            use = KINDS[self.items[target].kind].use
            yield f"({use.replace('i$', name)})"


class Effect(NamedTuple):
    """A program after an edit, and whether the edit can matter to `run`."""

    program: Program
    can_matter: bool


class Edit(NamedTuple):
    """An edit that can be made to any program: numbers choose what, modulo what there is."""

    what: str
    where: int
    which: int

    def apply(self, program: Program) -> Effect:
        """What the program is then."""
        n = self.where % len(program.items)
        item = program.items[n]
        if self.what == "look":
            k = self.which % len(item.looks)
            looks = tuple(v + (i == k) for i, v in enumerate(item.looks))
            return Effect(_with(program, n, replace(item, looks=looks)), can_matter=False)
        if self.what == "number":
            slots = KINDS[item.kind].slots()
            k = slots[self.which % len(slots)]
            numbers = tuple(v + (i == k) for i, v in enumerate(item.numbers))
            matters = n in program.reached() and k not in KINDS[item.kind].silent
            return Effect(_with(program, n, replace(item, numbers=numbers)), can_matter=matters)
        if self.what == "unused":
            module = self.where % len(MODULES)
            unused = tuple(v + (i == module) for i, v in enumerate(program.unused))
            return Effect(replace(program, unused=unused), can_matter=False)
        if self.what == "turn":
            turned = program.turned ^ {self.where % len(MODULES)}
            return Effect(replace(program, turned=turned), can_matter=False)
        return self._refer(program, n, item)

    def _refer(self, program: Program, n: int, item: Item) -> Effect:
        """Refer to something else, or in another way."""
        if not item.refs or item.kind == "versioned":
            return Effect(program, can_matter=False)
        k = self.which % len(item.refs)
        old = item.refs[k]
        new = old._replace(form=old.form + 1)
        if self.what == "retarget":
            lower = [t for t in range(n) if program.items[t].module <= item.module]
            new = Ref(lower[self.which % len(lower)], old.form)
        refs = tuple(new if i == k else ref for i, ref in enumerate(item.refs))
        made = _with(program, n, replace(item, refs=refs))
        return Effect(made, can_matter=n in program.reached())


def _with(program: Program, n: int, item: Item) -> Program:
    items = tuple(item if i == n else other for i, other in enumerate(program.items))
    return replace(program, items=items)


EDITS = ("look", "unused", "turn", "form", "retarget", *["number"] * 5)


_EVEN = st.sampled_from(range(60))
"""Numbers that are all as likely; of integers hypothesis prefers the ends."""


def edits() -> st.SearchStrategy[Edit]:
    """Any edit; a comment above the first item is the simplest."""
    return st.builds(Edit, st.sampled_from(EDITS), _EVEN, _EVEN)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Programs of four to ten items in up to four modules; `run` uses most of them."""
    count = draw(st.integers(3, 9))
    modules = sorted(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    kinds = draw(st.permutations(list(KINDS)))[:count]
    items: list[Item] = []
    for n in range(count):
        takes = "{refs}" in KINDS[kinds[n]].text and n > 0
        refs = draw(st.lists(_refs(n), max_size=2)) if takes else []
        numbers = tuple(draw(st.integers(0, 3)) for _ in range(3))
        items.append(Item(kinds[n], modules[n], numbers, tuple(refs)))
    unused = draw(st.sets(st.integers(0, count - 1), max_size=1))
    used = (Ref(n, draw(st.integers(0, 7))) for n in range(count) if n not in unused)
    items.append(Item("task", len(MODULES) - 1, (0, 0, 0), tuple(used)))
    return Program(tuple(items))


def _refs(n: int) -> st.SearchStrategy[Ref]:
    return st.builds(Ref, st.integers(0, n - 1), st.integers(0, 7))
