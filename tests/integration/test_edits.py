"""Which edits of a project change the code version of a task, and which do not.

Every case is a small project before and after one edit. The versions are computed in three fresh
processes: before the edit, before it once more, and after it, each with another PYTHONHASHSEED and
in another folder. `changes` means that the result of the task can change, `same` that it cannot.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

CHANGES, SAME = "changes", "same"


class Case(NamedTuple):
    """A project before and after an edit."""

    name: str
    expected: str
    before: dict[str, str]
    after: dict[str, str]


CASES: list[Case] = []


def case(name: str, expected: str, *edits: tuple[str, ...], **files: str) -> None:
    """Add a case; `main` is the module with the task `run`, and imports `task` by itself.

    An edit is `(file, old text, new text)`, or a file and its whole text.
    """
    before = {_file(file): _text(file, text) for file, text in files.items()}
    after = dict(before)
    for file, *texts in edits:
        after[file] = _edited(after[file], *texts) if len(texts) == 2 else _text(file, texts[0])
    assert before != after, f"{name}: the edit changes nothing"
    CASES.append(Case(name, expected, before, after))


def _file(name: str) -> str:
    """`pack__sub` is pack/sub.py, `pack____init__` is pack/__init__.py."""
    package = name.removesuffix("____init__")
    path = package.replace("__", "/")
    return f"{path}.py" if package == name else f"{path}/__init__.py"


def _text(file: str, text: str) -> str:
    head = "from tasklineage import task\n" if file.startswith("main") else ""
    return f"{head}{dedent(text).strip()}\n"


def _edited(text: str, old: str, new: str) -> str:
    """The text with a replacement that may be written with the margin of its literal."""
    for margin in ("", "    "):
        bare_old, bare_new = (f"\n{part}".replace(f"\n{margin}", "\n")[1:] for part in (old, new))
        edited = text.replace(bare_old, bare_new, 1)
        if edited != text and _compiles(edited):
            return edited
    raise AssertionError(f"cannot replace {old!r} by {new!r}")


def _compiles(text: str) -> bool:
    try:
        compile(text, "case", "exec")
    except SyntaxError:
        return False
    return True


def main(expected: str, name: str, text: str, old: str, new: str) -> None:
    """Add a case that is one module, whose edit is a replacement."""
    case(name, expected, ("main.py", old, new), main=text)


# What never counts.

BODY = '''
    LIMIT = 3

    def unreached(x):
        return x + 99

    def helper(x: int, y: int = 2) -> int:
        """What it does."""
        # a comment
        total = x + y
        if total > LIMIT:
            total = LIMIT
        return total

    @task
    def run(x: int) -> int:
        """Run it."""
        first = helper(x)
        return [first, *(helper(item) for item in range(x))]
'''
for _name, _old, _new in [
    ("comment in a helper", "# a comment", "# another one\n    # and more"),
    ("comment in the task", '"""Run it."""', '"""Run it."""\n    # so'),
    ("docstring of a helper", "What it does", "Something else"),
    ("docstring of the task", "Run it", "Walk it"),
    ("docstring removed", '    """What it does."""\n', ""),
    ("blank lines", "def unreached", "\n\n\ndef unreached"),
    ("formatting of an expression", "total = x + y", "total = (\n        x\n        + y\n    )"),
    (
        "formatting of a signature",
        "helper(x: int, y: int = 2)",
        "helper(\n    x: int,\n    y: int = 2,\n)",
    ),
    ("annotation changed", "x: int, y: int", "x: float, y: str"),
    ("annotation removed", "def run(x: int) -> int", "def run(x)"),
    (
        "annotations as text",
        "from tasklineage",
        "from __future__ import annotations\nfrom tasklineage",
    ),
    ("unreached function edited", "x + 99", "x + 100"),
    ("unreached function added", "LIMIT = 3", "LIMIT = 3\ndef other(): return 7"),
    ("unreached constant added", "LIMIT = 3", "LIMIT = 3\nOTHER = 4"),
    ("unreached import added", "LIMIT = 3", "import json\nLIMIT = 3"),
    (
        "local variable renamed",
        "first = helper(x)\n        return [first",
        "one = helper(x)\n        return [one",
    ),
    ("local of a comprehension renamed", "helper(item) for item", "helper(element) for element"),
    ("semicolons", "total = LIMIT", "pass; total = LIMIT"),
    ("parentheses", "return total", "return (total)"),
    ("quotes and literals", "LIMIT = 3", "LIMIT = 0x3"),
    ("trailing blank line", "LIMIT = 3", "\n\nLIMIT = 3"),
    ("options of the task", "@task\n", "@task(tags=('a', 'b'), retries=2)\n"),
    (
        "task renamed",
        "    @task\n    def run(",
        "    def bound(): return renamed\n    @task\n    def renamed(",
    ),
    ("constant moved down", "LIMIT = 3\n\n    def unreached", "def unreached"),
]:
    _after = {"task renamed": "run = renamed", "constant moved down": "LIMIT = 3"}.get(_name, "")
    case(_name, SAME, ("main.py", _old, _new), *((("main.py", "\nEND = 1\n", f"\n{_after}\n"),) if _after else ()),
         main=BODY + "\n    END = 1\n")  # fmt: skip
for _name, _old, _new in [
    ("helper body", "x + y", "x - y"),
    ("helper condition", "total > LIMIT", "total >= LIMIT"),
    ("task body", "range(x)", "range(x + 1)"),
    ("module constant", "LIMIT = 3", "LIMIT = 4"),
    ("constant of another type", "LIMIT = 3", "LIMIT = 3.0"),
    ("constant to bool", "LIMIT = 3", "LIMIT = True"),
    ("default of a helper", "y: int = 2", "y: int = 3"),
    ("helper parameter renamed", "y: int = 2) -> int:", "z: int = 2) -> int:\n        y = z"),
    ("task parameter renamed", "def run(x: int) -> int:", "def run(z: int) -> int:\n        x = z"),
    ("operand order", "x + y", "y + x"),
    ("statement removed", "            total = LIMIT\n", "            pass\n"),
    ("shadowed builtin", "LIMIT = 3", "LIMIT = 3\ndef range(n): return [n]"),
    ("constant removed", "LIMIT = 3", ""),
    ("helper redefined below", "def unreached(x):", "def unused(x): pass\ndef unreached(x):"),
]:
    if _name == "helper redefined below":
        main(CHANGES, _name, BODY, "@task", "def helper(x, y=1):\n    return 0\n\n@task")
    else:
        main(CHANGES, _name, BODY, _old, _new)

# Helpers in other modules, by every form of import.

HELPERS = "def helper(x):\n    return inner(x) + 1\n\ndef inner(x):\n    return x * 2\n\ndef other(x):\n    return x\n"
for _form, _import, _call in [
    ("import module", "import helpers", "helpers.helper(x)"),
    ("import as", "import helpers as h", "h.helper(x)"),
    ("from import", "from helpers import helper", "helper(x)"),
    ("from import as", "from helpers import helper as h", "h(x)"),
    ("star import", "from helpers import *", "helper(x)"),
    (
        "conditional import",
        "try:\n    import missing_fast as helpers\nexcept ImportError:\n    import helpers",
        "helpers.helper(x)",
    ),
    ("module alias", "import helpers\nh = helpers", "h.helper(x)"),
    ("getattr of a module", "import helpers", "getattr(helpers, 'helper')(x)"),
]:
    _module = f"{_import}\n\n@task\ndef run(x):\n    return {_call}\n"
    case(
        f"{_form}: helper edited",
        CHANGES,
        ("helpers.py", "x) + 1", "x) + 2"),
        main=_module,
        helpers=HELPERS,
    )
    case(
        f"{_form}: helper of helper edited",
        CHANGES,
        ("helpers.py", "x * 2", "x * 3"),
        main=_module,
        helpers=HELPERS,
    )
    case(
        f"{_form}: neighbour edited",
        SAME,
        ("helpers.py", "return x\n", "return -x\n"),
        main=_module,
        helpers=HELPERS + "\n",
    )
for _form, _import, _call in [
    ("import in the body", "import helpers", "helpers.helper(x)"),
    ("import as in the body", "import helpers as h", "h.helper(x)"),
    ("from import in the body", "from helpers import helper", "helper(x)"),
    ("from import as in the body", "from helpers import helper as h", "h(x)"),
    ("import used by an inner function", "import helpers", "(lambda: helpers.helper(x))()"),
    (
        "import_module in the body",
        "import importlib",
        "importlib.import_module('helpers').helper(x)",
    ),
    ("import of a package in the body", "import pack.sub", "pack.sub.helper(x)"),
    ("from package import in the body", "from pack import sub", "sub.helper(x)"),
    ("import of a submodule as", "import pack.sub as s", "s.helper(x)"),
]:
    _module = f"@task\ndef run(x):\n    {_import}\n    return {_call}\n"
    _where = "pack/sub.py" if "pack" in _import else "helpers.py"
    _files = {"pack__sub": HELPERS, "pack____init__": "", "helpers": HELPERS, "main": _module}
    case(f"{_form}: helper edited", CHANGES, (_where, "x) + 1", "x) + 2"), **_files)
    case(f"{_form}: neighbour edited", SAME, (_where, "return x\n", "return -x\n"), **_files)
case(
    "import under a condition in the body", CHANGES, ("helpers.py", "x) + 1", "x) + 2"),
    main="@task\ndef run(x):\n    if x:\n        from helpers import helper\n        return helper(x)", helpers=HELPERS,
)  # fmt: skip
case(
    "body import in a helper", CHANGES, ("helpers.py", "x * 2", "x * 5"),
    main="def go(x):\n    from helpers import helper\n    return helper(x)\n\n@task\ndef run(x):\n    return go(x)",
    helpers=HELPERS,
)  # fmt: skip

PACKAGE = {
    "pack____init__": "from .deep import helper\nfrom . import config\nUNUSED = 1\n",
    "pack__deep": "from .config import ALPHA\nfrom . import config\n\ndef helper(x):\n    return x + ALPHA + config.BETA\n",
    "pack__config": "ALPHA = 1\nBETA = 2\nGAMMA = 3\n",
    "main": "from pack import helper\n\n@task\ndef run(x):\n    return helper(x)\n",
}
case("re-export: helper edited", CHANGES, ("pack/deep.py", "x + ALPHA", "x - ALPHA"), **PACKAGE)
case(
    "re-export: constant from import",
    CHANGES,
    ("pack/config.py", "ALPHA = 1", "ALPHA = 5"),
    **PACKAGE,
)
case(
    "re-export: constant of a module",
    CHANGES,
    ("pack/config.py", "BETA = 2", "BETA = 5"),
    **PACKAGE,
)
case("re-export: unread constant", SAME, ("pack/config.py", "GAMMA = 3", "GAMMA = 5"), **PACKAGE)
case(
    "re-export: unread name of the package",
    SAME,
    ("pack/__init__.py", "UNUSED = 1", "UNUSED = 2"),
    **PACKAGE,
)
case("dotted use: constant", CHANGES, ("pack/config.py", "BETA = 2", "BETA = 5"),
     **{**PACKAGE, "main": "import pack\n\n@task\ndef run(x):\n    return x + pack.config.BETA\n"})  # fmt: skip
case("dotted use: neighbour", SAME, ("pack/config.py", "ALPHA = 1", "ALPHA = 5"),
     **{**PACKAGE, "main": "import pack\n\n@task\ndef run(x):\n    return x + pack.config.BETA\n"})  # fmt: skip
case("alias swapped", CHANGES, ("main.py", "a as f, b as g", "b as f, a as g"),
     main="from helpers import a as f, b as g\n\n@task\ndef run(x):\n    return f(x), g(x)",
     helpers="def a(x): return x + 1\ndef b(x): return x + 2\n")  # fmt: skip
case("alias points elsewhere", CHANGES, ("main.py", "import one as m", "import two as m"),
     main="import one as m\n\n@task\ndef run(x):\n    return m.f(x)",
     one="def f(x): return x + 1", two="def f(x): return x + 2")  # fmt: skip
case("function moved to another module", SAME, ("main.py", "from one import f", "from two import f"),
     main="from one import f\n\n@task\ndef run(x):\n    return f(x)",
     one="def f(x): return x + 1", two="# moved\n\ndef f(x):\n    return x + 1")  # fmt: skip
case("helper moved within its module", SAME, ("helpers.py", "def helper", "def between(): pass\n\ndef helper"),
     main="from helpers import helper\n\n@task\ndef run(x):\n    return helper(x)", helpers=HELPERS)  # fmt: skip
case("namespace package: helper edited", CHANGES, ("space/sub/m.py", "x + 1", "x + 2"),
     main="from space.sub import m\n\n@task\ndef run(x):\n    return m.f(x)", space__sub__m="def f(x): return x + 1")  # fmt: skip
case("optional module appears", CHANGES, ("fast.py", "def f(x): return 2"),
     main="try:\n    from fast import f\nexcept ImportError:\n    def f(x): return 1\n\n@task\ndef run(x):\n    return f(x)")  # fmt: skip
case("optional module of a body appears", CHANGES, ("fast.py", "def f(x): return 2"),
     main="@task\ndef run(x):\n    try:\n        from fast import f\n    except ImportError:\n        return 1\n    return f(x)")  # fmt: skip
case("module as a local: used", CHANGES, ("config.py", "ALPHA = 1", "ALPHA = 2"),
     main="import config\n\n@task\ndef run(x):\n    c = config\n    return x + c.ALPHA", config="ALPHA = 1\nBETA = 2")  # fmt: skip
case("module handed to a helper", CHANGES, ("config.py", "BETA = 2", "BETA = 3"),
     main="import config\n\ndef show(m, name): return getattr(m, name)\n\n@task\ndef run(x):\n    return show(config, 'BETA')",
     config="ALPHA = 1\nBETA = 2")  # fmt: skip
case("module-level __getattr__", CHANGES, ("config.py", "return 1", "return 2"),
     main="import config\n\n@task\ndef run(x):\n    return config.LAZY", config="def __getattr__(name):\n    return 1")  # fmt: skip
case("constant computed from another", CHANGES, ("config.py", "BASE = 2", "BASE = 3"),
     main="from config import LIMIT\n\n@task\ndef run(x):\n    return x + LIMIT", config="BASE = 2\nLIMIT = BASE * 10")  # fmt: skip
case("constant computed otherwise", SAME, ("config.py", "LIMIT = 20", "LIMIT = 4 * 5"),
     main="from config import LIMIT\n\n@task\ndef run(x):\n    return x + LIMIT", config="LIMIT = 20")  # fmt: skip

# Recursion.

RECURSION = """
    def even(n):
        return True if n == 0 else odd(n - 1)

    def odd(n):
        return False if n == 0 else even(n - 1)

    def down(n):
        return n if n < 1 else down(n - 1)

    @task
    def run(x):
        return even(x), down(x)
"""
main(CHANGES, "mutual recursion: far end", RECURSION, "False if", "None if")
main(CHANGES, "mutual recursion: near end", RECURSION, "True if", "1 if")
main(CHANGES, "recursion", RECURSION, "n < 1", "n < 2")
main(SAME, "recursion: comment", RECURSION, "def down(n):", "def down(n):  # slowly")
main(
    CHANGES,
    "recursive task",
    "@task\ndef run(n):\n    return 1 if n < 2 else n * run(n - 1)",
    "n < 2",
    "n < 1",
)

# Classes.

CLASSES = """
    class Base:
        rate = 2

        def shared(self, x):
            return x + 1

        def hook(self, x):
            return x

    class Mixin:
        def hook(self, x):
            return x * 10

    class Meta(type):
        def __call__(cls, *args):
            return super().__call__(*args)

    class Model(Base, Mixin):
        factor = 3
        names = ["a", "b"]

        def __init__(self, size=4):
            self.size = size

        def fit(self, x):
            return self.step(x) + self.scaled + self.shared(x) + Model.build(x) + self.two(x)

        def step(self, x):
            return x - 1

        @property
        def scaled(self):
            return self.size * self.factor

        @classmethod
        def build(cls, x):
            return x + cls.rate

        @staticmethod
        def two(x):
            return x + 2

        def __call__(self, x):
            return x ** 2

        def __enter__(self):
            return 5

        def __exit__(self, *error):
            return False

    class Other:
        def method(self):
            return 1

    @task
    def run(x):
        model = Model()
        with model as five:
            return model.fit(x) + model(x) + five
"""
for _name, _old, _new in [
    ("method", "x - 1", "x - 2"),
    ("property", "self.size * self.factor", "self.size + self.factor"),
    ("class method", "x + cls.rate", "x - cls.rate"),
    ("static method", "x + 2", "x + 3"),
    ("__call__", "x ** 2", "x ** 3"),
    ("context manager", "return 5", "return 6"),
    ("class attribute", "factor = 3", "factor = 4"),
    ("mutable class attribute", '["a", "b"]', '["a", "c"]'),
    ("attribute of a base", "rate = 2", "rate = 3"),
    ("method of a base", "return x + 1", "return x + 9"),
    ("bases swapped", "Model(Base, Mixin)", "Model(Mixin, Base)"),
    ("base removed", "Model(Base, Mixin)", "Model(Base)"),
    (
        "override added",
        "def step(self, x):",
        "def hook(self, x):\n        return 7\n\n    def step(self, x):",
    ),
    (
        "override added in a base",
        "def hook(self, x):\n        return x\n",
        "def hook(self, x):\n        return x\n\n    def __len__(self):\n        return 0\n",
    ),
    ("metaclass added", "Model(Base, Mixin)", "Model(Base, Mixin, metaclass=Meta)"),
    ("default of __init__", "size=4", "size=5"),
    ("slots added", "factor = 3", "factor = 3\n    __slots__ = ('q',)"),
]:
    main(CHANGES, f"class: {_name}", CLASSES, _old, _new)
for _name, _old, _new in [
    ("other class", "return 1", "return 2"),
    ("docstring", "class Model(Base, Mixin):", 'class Model(Base, Mixin):\n    """A model."""\n'),
    ("comment", "factor = 3", "factor = 3  # three"),
    ("annotation", "factor = 3", "factor: int = 3"),
    ("methods reordered", "def step(self, x):\n        return x - 1\n", ""),
]:
    if _name == "methods reordered":
        _old = "    def step(self, x):\n        return x - 1\n\n"
        _moved = (
            dedent(CLASSES)
            .replace(_old, "")
            .replace("    @staticmethod", _old + "    @staticmethod")
        )
        case(f"class: {_name}", SAME, ("main.py", _moved), main=CLASSES)
    else:
        main(SAME, f"class: {_name}", CLASSES, _old, _new)

# Dataclasses, enumerations, named tuples, descriptors.

RECORDS = """
    import dataclasses, enum, typing, collections
    from functools import cached_property

    @dataclasses.dataclass
    class Config:
        size: int = 3
        names: list = dataclasses.field(default_factory=lambda: [1])
        kind: str = dataclasses.field(default="a", metadata={"unit": "m"})

        def area(self):
            return self.size ** 2

    class Color(enum.Enum):
        RED = 1
        BLUE = 2

        def shade(self):
            return self.value * 2

    class Level(enum.IntFlag):
        LOW = 1
        HIGH = 2

    Point = collections.namedtuple("Point", ["x", "y"], defaults=[0])

    class Pair(typing.NamedTuple):
        left: int = 1
        right: int = 2

    class Percent:
        def __get__(self, owner, kind=None):
            return 100

    class Holder:
        percent = Percent()

        @cached_property
        def slow(self):
            return 11

    @task
    def run(x):
        p = Point(x)
        return Config().area(), Color.RED.shade(), Level.LOW | Level.HIGH, p, Pair(), Holder().percent, Holder().slow
"""
for _name, _old, _new in [
    ("dataclass default", "size: int = 3", "size: int = 4"),
    ("dataclass annotation", "size: int = 3", "size: float = 3"),
    (
        "dataclass field order",
        'kind: str = dataclasses.field(default="a", metadata={"unit": "m"})',
        "kind: str = 'a'\n        more: int = 0",
    ),
    ("dataclass metadata", '"m"', '"km"'),
    ("dataclass factory", "lambda: [1]", "lambda: [2]"),
    ("dataclass options", "@dataclasses.dataclass", "@dataclasses.dataclass(order=True)"),
    ("dataclass method", "self.size ** 2", "self.size ** 3"),
    ("enum value", "RED = 1", "RED = 7"),
    ("enum member added", "BLUE = 2", "BLUE = 2\n        GREEN = 3"),
    ("enum members swapped", "RED = 1\n        BLUE = 2", "BLUE = 2\n        RED = 1"),
    ("enum method", "self.value * 2", "self.value * 3"),
    ("flag value", "HIGH = 2", "HIGH = 4"),
    ("namedtuple field", '["x", "y"]', '["x", "z"]'),
    ("namedtuple default", "defaults=[0]", "defaults=[1]"),
    ("typed named tuple default", "right: int = 2", "right: int = 3"),
    ("descriptor", "return 100", "return 101"),
    ("cached property", "return 11", "return 12"),
]:
    main(CHANGES, _name, RECORDS, _old, _new)
main(SAME, "dataclass comment", RECORDS, "size: int = 3", "size: int = 3  # metres")

# Decorators and wrappers.

WRAPPERS = """
    import functools, contextlib

    STEP = 2

    def timed(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) + 0
        return wrapper

    def times(n):
        def decorate(function):
            def wrapper(*args):
                return function(*args) * n
            return wrapper
        return decorate

    class Counted:
        def __init__(self, function):
            functools.update_wrapper(self, function)
            self.function = function

        def __call__(self, *args):
            return self.function(*args)

    @timed
    def a(x): return x + 1

    @times(3)
    def b(x): return x + 2

    @Counted
    def c(x): return x + 3

    @functools.lru_cache(maxsize=8)
    def d(x): return x + 4

    @functools.singledispatch
    def e(x): return x + 5

    @e.register
    def _(x: str): return x + "!"

    @contextlib.contextmanager
    def f(x):
        yield x + 6

    def base(x, y): return x + y + 7

    g = functools.partial(base, y=STEP)
    h = functools.partial(base, 1)

    HANDLERS = {"i": lambda x: x + 8, "j": base, "deep": [{"k": lambda x: x + 9}]}

    @times(2)
    @timed
    def twice(x): return x + 10

    class Service:
        @functools.singledispatchmethod
        def go(self, x): return x + 11

        run_partial = functools.partialmethod(lambda self, x: x + 12, x=3)

    bound = Service().go

    @task
    def run(x):
        with f(x) as inside:
            pass
        return (a(x), b(x), c(x), d(x), e(x), inside, g(x), h(x), HANDLERS["i"](x), twice(x), bound(x),
            HANDLERS["deep"][0]["k"](x), Service().run_partial())
"""
for _name, _old, _new in [
    ("wrapped by functools.wraps", "return x + 1\n", "return x + 99\n"),
    ("wrapper of functools.wraps", "function(*args) + 0", "function(*args) + 1"),
    ("wrapped by a factory", "return x + 2", "return x + 99"),
    ("wrapper of a factory", "function(*args) * n", "function(*args) ** n"),
    ("argument of a decorator", "@times(3)", "@times(4)"),
    ("wrapped by a class", "return x + 3", "return x + 99"),
    ("wrapping class", "return self.function(*args)", "return self.function(*args) + 1"),
    ("lru_cache", "return x + 4", "return x + 99"),
    ("singledispatch: default", "return x + 5", "return x + 99"),
    ("singledispatch: registered", '"!"', '"?"'),
    ("singledispatch: type", "x: str", "x: bytes"),
    ("contextmanager", "yield x + 6", "yield x + 99"),
    ("partial: function", "x + y + 7", "x + y + 99"),
    ("partial: keyword", "STEP = 2", "STEP = 3"),
    ("partial: argument", "partial(base, 1)", "partial(base, 2)"),
    ("lambda in a dict", "x + 8", "x + 99"),
    ("lambda deep in a dict", "x + 9}", "x + 99}"),
    ("lambda in a dict: key", '"i": lambda', '"ii": lambda'),
    ("doubly wrapped", "return x + 10", "return x + 99"),
    ("decorator removed", "@times(2)\n    @timed", "@timed"),
    ("decorators swapped", "@times(2)\n    @timed", "@timed\n    @times(2)"),
    ("singledispatchmethod", "return x + 11", "return x + 99"),
    ("partialmethod", "x + 12", "x + 99"),
    ("partialmethod: argument", "x=3", "x=4"),
]:
    main(CHANGES, _name, WRAPPERS, _old, _new)
main(SAME, "wrappers: comment", WRAPPERS, "yield x + 6", "yield x + 6  # six")
main(CHANGES, "decorated task: decorator", """
    import functools

    def twice(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) * 2
        return wrapper

    @task
    @twice
    def run(x): return x
""", "* 2", "* 3")  # fmt: skip
main(CHANGES, "decorated task: wrapped", """
    import functools

    def twice(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args) * 2
        return wrapper

    @task
    @twice
    def run(x): return x
""", "return x\n", "return -x\n")  # fmt: skip

# Closures, scopes, kinds of functions.

SCOPES = """
    OFFSET = 1
    SCALE = 2
    TOTAL = 0

    def make(n):
        def inner(x):
            return x * n
        return inner

    triple = make(3)
    four = make(4)

    def gen(n):
        for i in range(n):
            yield i * SCALE

    def delegate(n):
        yield from gen(n)

    async def later(x):
        return x + 50

    def match_it(x):
        match x:
            case 0:
                return "zero"
            case {"a": value}:
                return value
            case [first, *rest]:
                return first
            case int() if x > 60:
                return "big"
        return None

    def handle(x):
        try:
            return 1 / x
        except ZeroDivisionError as error:
            return 70
        finally:
            x = 0

    def with_default(x, key=lambda v: v + 80, *, strict=False):
        return key(x) if strict else x

    def walrus(x):
        return [y for z in range(x) if (y := z + 90)]

    def nested(x):
        def one():
            def two():
                return x + 100
            return two()
        return one()

    def unpack(*args, **kwargs):
        a, *b = args
        return {**kwargs, "a": a, "b": b}

    def text(x):
        return f"{x:>{OFFSET}} and {x!r}"

    def count(x):
        global TOTAL
        TOTAL = x
        return x

    @task
    def run(x):
        values = [v + OFFSET for v in range(x)]
        keys = {k: make(k) for k in values}
        chosen = {s for s in values if s % 7}
        lazy = (w - OFFSET for w in values)
        later(x)
        return (triple(x), four(x), list(delegate(x)), match_it(x), handle(x), with_default(x), walrus(x),
            nested(x), unpack(x), text(x), count(x), keys, chosen, list(lazy))
"""
for _name, _old, _new in [
    ("closure value", "make(3)", "make(5)"),
    (
        "closures swapped",
        "triple = make(3)\n    four = make(4)",
        "triple = make(4)\n    four = make(3)",
    ),
    ("closure body", "x * n", "x - n"),
    ("global in a comprehension", "OFFSET = 1", "OFFSET = 9"),
    ("global in a generator", "SCALE = 2", "SCALE = 3"),
    ("generator", "yield i * SCALE", "yield i + SCALE"),
    ("yield from", "yield from gen(n)", "yield from gen(n + 1)"),
    ("async def", "x + 50", "x + 51"),
    ("async removed", "async def later", "def later"),
    ("match: literal", "case 0", "case 1"),
    ("match: key", '{"a": value}', '{"b": value}'),
    ("match: star", "[first, *rest]", "[first]"),
    ("match: guard", "x > 60", "x > 61"),
    ("except: type", "ZeroDivisionError", "ArithmeticError"),
    ("except: body", "return 70", "return 71"),
    ("finally", "finally:\n            x = 0", "finally:\n            pass"),
    ("lambda as a default", "v + 80", "v + 81"),
    ("keyword default", "strict=False", "strict=True"),
    ("keyword-only", "*, strict", "strict"),
    ("walrus", "z + 90", "z + 91"),
    ("inner of inner", "x + 100", "x + 101"),
    ("star args", "*args, **kwargs):\n        a, *b = args", "**kwargs):\n        a, *b = 1, 2"),
    ("format specification", ":>{OFFSET}", ":<{OFFSET}"),
    ("conversion", "x!r", "x!s"),
    ("global write: value", "TOTAL = x", "TOTAL = x + 1"),
    ("global write: name", "global TOTAL\n        TOTAL = x", "global OTHER\n        OTHER = x"),
    ("set comprehension", "s % 7", "s % 8"),
    ("generator expression", "w - OFFSET", "w + OFFSET"),
]:
    main(CHANGES, _name, SCOPES, _old, _new)
for _name, _old, _new in [
    ("global that is only written", "TOTAL = 0", "TOTAL = 5"),
    (
        "cell variable renamed",
        "def two():\n                return x + 100\n            return two()",
        "def deux():\n                return x + 100\n            return deux()",
    ),
    (
        "inner function renamed",
        "def inner(x):\n            return x * n\n        return inner",
        "def within(x):\n            return x * n\n        return within",
    ),
    (
        "comprehension formatted",
        "[v + OFFSET for v in range(x)]",
        "[\n            v + OFFSET\n            for v in range(x)\n        ]",
    ),
    ("exception variable renamed", "as error", "as problem"),
    (
        "generator renamed variable",
        "for i in range(n):\n            yield i * SCALE",
        "for j in range(n):\n            yield j * SCALE",
    ),
    ("inner annotation", "def inner(x):", "def inner(x: int) -> 'float':"),
    ("inner docstring", "def inner(x):\n", "def inner(x):\n            'Inside.'\n"),
]:
    main(SAME, _name, SCOPES, _old, _new)
main(
    CHANGES,
    "local renamed where locals() is read",
    "@task\ndef run(x):\n    first = x\n    return locals()",
    "first",
    "second",
)
main(
    CHANGES,
    "local renamed where eval is called",
    "@task\ndef run(x):\n    first = x\n    return eval('first')",
    "first = x",
    "second = x",
)
main(
    CHANGES,
    "eval reads the module",
    "LIMIT = 3\n\n@task\ndef run(x):\n    return eval('LIMIT')",
    "LIMIT = 3",
    "LIMIT = 4",
)
main(
    CHANGES,
    "globals() reads the module",
    "LIMIT = 3\n\n@task\ndef run(x):\n    return globals()['LIMIT']",
    "LIMIT = 3",
    "LIMIT = 4",
)
main(
    CHANGES,
    "frames show locals",
    "import sys\n\ndef peek(): return sys._getframe(1).f_locals\n\n@task\ndef run(x):\n    first = x\n    return peek()",
    "first = x",
    "second = x",
)
main(
    CHANGES,
    "docstring that is read",
    "def helper():\n    'One.'\n\n@task\ndef run(x):\n    return helper.__doc__",
    "One.",
    "Two.",
)
main(
    CHANGES,
    "docstring of a parameter that is read",
    "def helper():\n    'One.'\n\ndef show(f): return f.__doc__\n\n@task\ndef run(x):\n    return show(helper)",
    "One.",
    "Two.",
)
main(
    SAME,
    "function of which only the docstring is read",
    "def helper():\n    'One.'\n    return 1\n\n@task\ndef run(x):\n    return helper.__doc__",
    "return 1",
    "return 2",
)
main(
    CHANGES,
    "name that is read",
    "def show(f): return f.__name__\n\ndef one(): pass\n\nhelper = one\n\n@task\ndef run(x):\n    return show(helper)",
    "def one(): pass\n\nhelper = one",
    "def two(): pass\n\nhelper = two",
)
main(
    SAME,
    "name that is not read",
    "def one(): pass\n\nhelper = one\n\n@task\ndef run(x):\n    return helper()",
    "def one(): pass\n\nhelper = one",
    "def two(): pass\n\nhelper = two",
)
main(
    CHANGES,
    "annotations that are read",
    "import typing\n\ndef helper(x: int): pass\n\n@task\ndef run(x):\n    return typing.get_type_hints(helper)",
    "x: int",
    "x: str",
)
main(
    CHANGES,
    "function attribute",
    "def helper(x): return x * helper.factor\nhelper.factor = 2\n\n@task\ndef run(x):\n    return helper(x)",
    "factor = 2",
    "factor = 3",
)
main(
    CHANGES,
    "exec-defined helper",
    "space = {}\nexec('def helper(x): return x + 1', space)\nhelper = space['helper']\n\n@task\ndef run(x):\n    return helper(x)",
    "x + 1",
    "x + 2",
)
main(
    CHANGES,
    "exec-defined class",
    "space = {}\nexec('class A:\\n  def m(self): return 1', space)\nA = space['A']\n\n@task\ndef run(x):\n    return A().m()",
    "return 1",
    "return 2",
)
main(
    CHANGES,
    "exec-defined task",
    "space = {'task': task}\nexec('@task\\ndef run(x): return x + 1', space)\nrun = space['run']",
    "x + 1",
    "x + 2",
)
main(
    CHANGES,
    "helper made by a factory",
    "def make(n):\n    return lambda x: x + n\n\nhelper = make(1)\n\n@task\ndef run(x):\n    return helper(x)",
    "make(1)",
    "make(2)",
)
main(
    SAME,
    "default of the task itself",
    "@task\ndef run(x, lr=0.1):\n    return x * lr",
    "lr=0.1",
    "lr=0.2",
)
main(
    CHANGES,
    "base class from a function",
    "def make(n):\n    class A:\n        def m(self): return n\n    return A\n\nclass B(make(1)): pass\n\n@task\ndef run(x):\n    return B().m()",
    "make(1)",
    "make(2)",
)
main(
    CHANGES,
    "class with an instance of itself",
    "class A:\n    best = None\n    def __init__(self, n): self.n = n\nA.best = A(1)\n\n@task\ndef run(x):\n    return A.best.n",
    "A(1)",
    "A(2)",
)
main(
    CHANGES,
    "monkeypatched library function",
    "import statistics\ndef mean(values): return 1\nstatistics.mean = mean\n\n@task\ndef run(x):\n    return statistics.mean([x])",
    "return 1",
    "return 2",
)
main(
    CHANGES,
    "method put into a library class",
    "import collections\ndef total(self): return 1\nclass A(collections.UserDict): pass\ncollections.UserDict.total = total\n\n@task\ndef run(x):\n    return collections.UserDict().total()",
    "return 1",
    "return 2",
)
main(
    CHANGES,
    "method put into a class from outside",
    "class A: pass\ndef total(self): return 1\nA.total = total\n\n@task\ndef run(x):\n    return A().total()",
    "return 1",
    "return 2",
)
main(
    CHANGES,
    "callback in a global list",
    "def one(x): return x + 1\ndef two(x): return x + 2\nSTEPS = [one, two]\n\n@task\ndef run(x):\n    return [s(x) for s in STEPS]",
    "[one, two]",
    "[two, one]",
)
main(
    CHANGES,
    "function in a frozenset",
    "def one(x): return x + 1\ndef two(x): return x + 2\nSTEPS = frozenset([one, two])\n\n@task\ndef run(x):\n    return sum(s(x) for s in STEPS)",
    "x + 1",
    "x + 3",
)
main(
    SAME,
    "functions in a set: comment",
    "def one(x): return x + 1\ndef two(x): return x + 2\ndef three(x): return x + 3\nSTEPS = {one, two, three}\n\n@task\ndef run(x):\n    return sum(s(x) for s in STEPS)",
    "def two",
    "# two\ndef two",
)
main(
    CHANGES,
    "swapped library function",
    "from math import sin as f\n\n@task\ndef run(x):\n    return f(x)",
    "sin as f",
    "cos as f",
)
case("builtin shadowed by an import", CHANGES, ("main.py", "# here", "from mine import max"),
     main="# here\n@task\ndef run(x):\n    return max(x, 2)", mine="def max(*a): return 0")  # fmt: skip
case("builtin shadowed by a star import", CHANGES, ("mine.py", "def min(*a): return 0", "def max(*a): return 0"),
     main="from mine import *\n@task\ndef run(x):\n    return max(x, 2)", mine="def min(*a): return 0")  # fmt: skip

# Values of all types.

for _name, _before, _after in [
    ("int", "3", "4"), ("float", "0.5", "0.25"), ("float sign", "0.0", "-0.0"), ("str", "'a'", "'b'"),
    ("str to bytes", "'a'", "b'a'"), ("bool to int", "True", "1"), ("None", "None", "0"),
    ("tuple to list", "(1, 2)", "[1, 2]"), ("list", "[1, 2]", "[1, 3]"), ("dict", "{'a': 1}", "{'a': 2}"),
    ("dict order", "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"), ("set", "{1, 2}", "{1, 3}"),
    ("nested", "{'a': [{'b': (1,)}]}", "{'a': [{'b': (2,)}]}"), ("regex", "re.compile('a')", "re.compile('b')"),
    ("regex flags", "re.compile('a')", "re.compile('a', re.I)"), ("path", "Path('a')", "Path('b')"),
    ("decimal", "Decimal('1.0')", "Decimal('1.00')"), ("fraction", "Fraction(1, 2)", "Fraction(1, 3)"),
    ("date", "date(2020, 1, 1)", "date(2020, 1, 2)"), ("timedelta", "timedelta(1)", "timedelta(2)"),
    ("complex", "1j", "2j"), ("range", "range(3)", "range(4)"), ("big int", "10**50", "10**50 + 1"),
    ("frozenset", "frozenset('ab')", "frozenset('ac')"), ("ellipsis", "...", "None"),
    ("array", "np.arange(4)", "np.arange(5)"), ("array value", "np.zeros(3)", "np.ones(3)"),
    ("array dtype", "np.zeros(3)", "np.zeros(3, 'f4')"), ("scalar", "np.float64(1)", "np.float64(2)"),
    ("deque", "deque([1])", "deque([2])"), ("defaultdict", "defaultdict(list)", "defaultdict(set)"),
    ("namespace", "SimpleNamespace(a=1)", "SimpleNamespace(a=2)"), ("instance", "Thing(1)", "Thing(2)"),
    ("bytes", "b'ab'", "b'ac'"), ("bytearray", "bytearray(b'a')", "bytearray(b'b')"), ("type", "int", "float"),
    ("builtin function", "len", "sum"), ("library function", "os.path.join", "os.path.split"),
    ("itemgetter", "itemgetter(0)", "itemgetter(1)"), ("unhashable parts", "[Lock(), 1]", "[Lock(), 2]"),
    ("service object", "Service(1)", "Service(2)"), ("lambda", "lambda v: v + 1", "lambda v: v + 2"),
]:  # fmt: skip
    main(CHANGES, f"constant: {_name}", f"""
    import os, re
    from collections import defaultdict, deque
    from datetime import date, timedelta
    from decimal import Decimal
    from fractions import Fraction
    from operator import itemgetter
    from pathlib import Path
    from threading import Lock
    from types import SimpleNamespace
    import numpy as np

    class Thing:
        def __init__(self, n): self.n = n

    class Service:
        def __init__(self, n):
            self.n = n
            self.lock = Lock()

    VALUE = {_before}

    @task
    def run(x):
        return x, VALUE
""", f"VALUE = {_before}", f"VALUE = {_after}")  # fmt: skip

INSTANCE = """
    class Thing:
        unit = "m"
        def __init__(self, n): self.n = n
        def double(self): return self.n * 2

    THING = Thing(1)
    THINGS = {"a": [Thing(1)]}

    @task
    def run(x):
        return THING.double(), THINGS
"""
main(CHANGES, "class of a global instance: method", INSTANCE, "self.n * 2", "self.n * 3")
main(CHANGES, "class of a global instance: attribute", INSTANCE, '"m"', '"km"')
main(CHANGES, "state of a global instance", INSTANCE, "THING = Thing(1)", "THING = Thing(2)")
main(CHANGES, "state of an instance in a container", INSTANCE, "[Thing(1)]", "[Thing(3)]")
main(SAME, "class of a global instance: comment", INSTANCE, 'unit = "m"', 'unit = "m"  # metres')

# Writing only.

SINKS = """
    LOG = ["start"]
    COUNTS = {"n": 0}
    TOTAL = 1

    def note(x):
        global TOTAL
        LOG.append(x)
        COUNTS["n"] += 1
        TOTAL += 1

    @task
    def run(x):
        note(x)
        return x
"""
main(SAME, "list that is only appended to", SINKS, '["start"]', '["begin"]')
main(SAME, "dict that is only counted in", SINKS, '{"n": 0}', '{"n": 5}')
main(SAME, "number that is only counted up", SINKS, "TOTAL = 1\n", "TOTAL = 2\n")
main(CHANGES, "what is written", SINKS, "LOG.append(x)", "LOG.append(x + 1)")
main(
    CHANGES,
    "list that is also read",
    SINKS.replace("return x\n", "return len(LOG)\n"),
    '["start"]',
    '["start", 1]',
)

# Tasks that call tasks.

TASKS = """
    FACTOR = 2

    @task
    def child(x, scale=1):
        return x * FACTOR * scale

    @task(version="1")
    def fixed(x):
        return x + 1

    @task(key={"x": lambda x: x % 10})
    def keyed(x):
        return x % 10

    TASKS = {"child": child}

    @task
    def run(x):
        return child(x) + fixed(x) + TASKS["child"](x) + keyed(x)
"""
main(CHANGES, "child task", TASKS, "FACTOR * scale", "FACTOR + scale")
main(CHANGES, "global of a child task", TASKS, "FACTOR = 2", "FACTOR = 3")
main(CHANGES, "default of a child task", TASKS, "scale=1", "scale=2")
main(CHANGES, "version of a child task", TASKS, 'version="1"', 'version="2"')
main(SAME, "body of a child task with a version", TASKS, "return x + 1", "return x + 2")
main(
    SAME,
    "options of a child task",
    TASKS,
    "@task\n    def child",
    "@task(tags=('a',), ttl=60)\n    def child",
)
main(CHANGES, "key function of a child task", TASKS, "lambda x: x % 10", "lambda x: x % 100")
main(SAME, "comment in a child task", TASKS, "return x % 10", "return x % 10  # last digit")
main(CHANGES, "version of the task", "@task(version='1')\ndef run(x): return x", "'1'", "'2'")
main(
    SAME,
    "body of a task with a version",
    "@task(version='1')\ndef run(x): return x",
    "return x",
    "return -x",
)
main(
    CHANGES, "key function of the task", "@task(key={'x': abs})\ndef run(x): return x", "abs", "str"
)
main(
    CHANGES,
    "key function of the project",
    "def part(x): return x[0]\n@task(key={'x': part})\ndef run(x): return x",
    "x[0]",
    "x[1]",
)
main(
    CHANGES,
    "method as a task",
    "class A:\n    n = 1\n    @task\n    def run(self): return self.n\nrun = A.__dict__['run']\nB = A\n@task\ndef run(x): return A().run()",
    "n = 1",
    "n = 2",
)
main(
    SAME,
    "unreached task edited",
    "@task\ndef other(x): return 1\n@task\ndef run(x): return x",
    "return 1",
    "return 2",
)

# Library things, registries, protocols, operators.

N = """
import numpy as np
@np.vectorize
def f(x): return x + 1
poly = np.poly1d([1, 2])
kind = np.dtype([("a", "f4")])
@task
def run(v): return f(v), poly(v), kind
"""
main(CHANGES, "numpy.vectorize", N, "x + 1", "x + 9")
main(CHANGES, "numpy polynomial", N, "[1, 2]", "[1, 3]")
main(CHANGES, "numpy dtype", N, '"f4"', '"f8"')
R = """
import random, logging
from random import choice, random as rnd
log = logging.getLogger(__name__)
_MISSING = object()
STATE = random.Random(3)
def pick(xs, c=choice): return c(xs)
@task
def run(v):
    log.info("x")
    return pick(v), rnd(), STATE, v is _MISSING
"""
main(SAME, "random funcs stable", R, 'log.info("x")', 'log.info("x")  # c')
main(CHANGES, "random seed", R, "Random(3)", "Random(4)")
SUB = """
class Base:
    registry = []
    def __init_subclass__(cls, **kw):
        Base.registry.append(cls)
    def name(self): return 0
class A(Base):
    def name(self): return 1
class B(Base):
    def name(self): return 2
@task
def run(x): return [k().name() for k in Base.registry]
"""
main(CHANGES, "registry by init_subclass", SUB, "return 1", "return 9")
main(CHANGES, "registry added", SUB, "class B(Base):", "class C(Base): pass\nclass B(Base):")
main(
    CHANGES,
    "subclasses()",
    SUB.replace("Base.registry]", "Base.__subclasses__()]")
    .replace("registry = []", "")
    .replace("Base.registry.append(cls)", "pass"),
    "return 1",
    "return 9",
)
REG = """
REG = {}
def register(name):
    def deco(f):
        REG[name] = f
        return f
    return deco
@register("a")
def fa(x): return x + 1
@register("b")
def fb(x): return x + 2
@task
def run(n, x): return REG[n](x)
"""
main(CHANGES, "decorator registry fn", REG, "x + 1", "x + 9")
main(CHANGES, "decorator registry name", REG, '"b"', '"c"')
ABC = """
import abc, typing
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
    @property
    @abc.abstractmethod
    def side(self): ...
class Sq(Shape):
    def area(self): return self.side ** 2
    @property
    def side(self): return 2
class Proto(typing.Protocol):
    def area(self) -> int: ...
T = typing.TypeVar("T")
class Box(typing.Generic[T]):
    def __init__(self, v: T): self.v = v
Num = int | float
Lst = list[int]
class TD(typing.TypedDict):
    a: int
@task
def run(x): return Sq().area(), Box(x), isinstance(x, Num), typing.cast(Lst, x), TD(a=1), isinstance(Sq(), Proto) if 0 else 1
"""
main(CHANGES, "abc method", ABC, "self.side ** 2", "self.side ** 3")
main(CHANGES, "abc prop", ABC, "return 2", "return 3")
main(CHANGES, "union alias", ABC, "int | float", "int | str")
main(SAME, "abc comment", ABC, "return 2", "return 2 # c")
COR = """
import asyncio, contextlib
@contextlib.asynccontextmanager
async def acm():
    yield 1
async def agen(n):
    for i in range(n): yield i
async def work(x):
    async with acm() as a:
        return [i async for i in agen(x)] + [a]
@task
async def run(x): return await work(x)
"""
main(CHANGES, "acm", COR, "yield 1", "yield 2")
main(CHANGES, "agen", COR, "yield i", "yield i+1")
main(CHANGES, "async comp", COR, "[i async for", "[-i async for")
SL = """
class P:
    __slots__ = ("a", "b")
    def __init__(self): self.a = 1; self.b = 2
    def s(self): return self.a
class Q:
    def __getattr__(self, n): return 4
    def __getitem__(self, i): return i
    def __iter__(self): yield 1
    def __eq__(self, o): return True
    __hash__ = None
p = P()
@task
def run(x): return p.s(), Q().z, Q()[1], list(Q())
"""
for o, n in [
    ("self.a = 1", "self.a = 3"),
    ("return self.a", "return self.b"),
    ("return 4", "return 5"),
    ("return i", "return -i"),
    ("yield 1", "yield 2"),
    ("return True", "return False"),
]:
    main(CHANGES, "slots " + o, SL, o, n)
DC = """
def deco(cls):
    cls.extra = lambda self: 7
    return cls
def wrapcls(cls):
    class W(cls):
        def m(self): return super().m() + 1
    return W
@deco
@wrapcls
class K:
    def m(self): return 5
@task
def run(x): return K().extra(), K().m()
"""
for o, n in [
    ("self: 7", "self: 8"),
    ("super().m() + 1", "super().m() + 2"),
    ("return 5", "return 6"),
    ("@deco\n", ""),
    ("@wrapcls\n", ""),
]:
    main(CHANGES, "class deco " + o, DC, o, n)
LZ = """
from functools import reduce
from operator import add, mul
from itertools import chain
ops = {"+": add, "*": mul}
pipeline = [str.strip, str.upper]
key = sorted
@task
def run(x): return reduce(add, x), ops["+"](1,2), [f(x) for f in pipeline], key(x)
"""
for o, n in [
    ("reduce(add", "reduce(mul"),
    ('"+": add', '"+": mul'),
    ("str.upper", "str.lower"),
    ("key = sorted", "key = reversed"),
]:
    main(CHANGES, "ops " + o, LZ, o, n)
main(CHANGES, "operator alias", LZ, "import add, mul", "import mul as add, add as mul")
GL = """
X = 1
def set_it():
    global X
    X = 5
def get(): return X
@task
def run(a):
    set_it()
    return get()
"""
main(CHANGES, "global communicates", GL, "global X\n    X = 5", "global Z\n    Z = 5")
main(CHANGES, "global value", GL, "X = 1", "X = 2")
IMP = """
import config
def f(): config.N = 4
@task
def run(a):
    f()
    config.counter += 1
    return config.M
"""
case(
    "config write name",
    CHANGES,
    ("main.py", "config.N = 4", "config.M = 4"),
    main=IMP,
    config="N=1\nM=2\ncounter=0",
)
case("config unread", SAME, ("config.py", "N=1", "N=9"), main=IMP, config="N=1\nM=2\ncounter=0")
case("config read", CHANGES, ("config.py", "M=2", "M=9"), main=IMP, config="N=1\nM=2\ncounter=0")
main(
    CHANGES,
    "conditional def",
    "import sys\nif sys.version_info > (3,):\n    def h(x): return x+1\nelse:\n    def h(x): return x\n@task\ndef run(x): return h(x)",
    "x+1",
    "x+2",
)
main(
    CHANGES,
    "del later",
    "def h(x): return x+1\ng = h\ndel h\n@task\ndef run(x): return g(x)",
    "x+1",
    "x+2",
)
main(
    CHANGES,
    "string method via getattr const",
    "class A:\n    def m(self): return 1\n@task\ndef run(x): return getattr(A(), 'm')()",
    "return 1",
    "return 2",
)
main(
    CHANGES,
    "property setter",
    "class A:\n    @property\n    def p(self): return self._p\n    @p.setter\n    def p(self, v): self._p = v + 1\n@task\ndef run(x):\n    a = A()\n    a.p = x\n    return a.p",
    "v + 1",
    "v + 2",
)
main(
    CHANGES,
    "super in mixin",
    "class A:\n    def m(self): return 1\nclass B(A):\n    def m(self): return super().m()\n@task\ndef run(x): return B().m()",
    "return 1",
    "return 2",
)
main(
    CHANGES,
    "nested class",
    "class A:\n    class B:\n        v = 1\n@task\ndef run(x): return A.B.v",
    "v = 1",
    "v = 2",
)
main(
    CHANGES,
    "local class",
    "def f(x):\n    class L:\n        v = 1\n    return L.v + x\n@task\ndef run(x): return f(x)",
    "v = 1",
    "v = 2",
)
main(
    SAME,
    "local class doc",
    "def f(x):\n    class L:\n        'doc'\n        v = 1\n    return L.v + x\n@task\ndef run(x): return f(x)",
    "'doc'",
    "'docs'",
)
main(
    CHANGES,
    "exception class",
    "class E(Exception):\n    code = 1\n@task\ndef run(x):\n    try: raise E()\n    except E as e: return e.code",
    "code = 1",
    "code = 2",
)
main(
    CHANGES,
    "f-string nested",
    "def q(x): return x+1\n@task\ndef run(x): return f'{q(x)!r:>{q(3)}}'",
    "x+1",
    "x+2",
)
main(
    CHANGES,
    "dict comp key fn",
    "def q(x): return x+1\n@task\ndef run(x): return {q(i): i for i in x}",
    "x+1",
    "x+2",
)
main(
    CHANGES,
    "default arg mutable const",
    "D = {'a': 1}\ndef q(x, d=D): return d\n@task\ndef run(x): return q(x)",
    "'a': 1",
    "'a': 2",
)
main(
    CHANGES,
    "kwonly default fn",
    "def z(): return 1\ndef q(x, *, d=z): return d()\n@task\ndef run(x): return q(x)",
    "return 1",
    "return 2",
)
main(CHANGES, "lambda assigned", "q = lambda x: x+1\n@task\ndef run(x): return q(x)", "x+1", "x+2")
main(CHANGES, "chained comparison", "@task\ndef run(x): return 1 < x < 3", "< 3", "<= 3")
main(CHANGES, "augmented op", "@task\ndef run(x):\n    x += 1\n    return x", "+= 1", "-= 1")
main(CHANGES, "assert", "@task\ndef run(x):\n    assert x > 1\n    return x", "x > 1", "x > 2")
main(
    CHANGES,
    "while else",
    "@task\ndef run(x):\n    while x:\n        x -= 1\n    else:\n        x = 5\n    return x",
    "x = 5",
    "x = 6",
)
main(
    CHANGES,
    "try star",
    "@task\ndef run(x):\n    try:\n        return x\n    except* ValueError:\n        x = 3\n    return x",
    "ValueError",
    "TypeError",
)
main(
    CHANGES,
    "with two",
    "import contextlib\n@task\ndef run(x):\n    with contextlib.suppress(KeyError), contextlib.suppress(ValueError):\n        return x",
    "suppress(ValueError)",
    "suppress(TypeError)",
)
main(
    SAME,
    "type alias unused",
    "from typing import List\nV = List[int]\n@task\ndef run(x: V): return x",
    "List[int]",
    "List[str]",
)
main(
    SAME,
    "overload stubs",
    "import typing\n@typing.overload\ndef h(x: int) -> int: ...\ndef h(x): return x+1\n@task\ndef run(x): return h(x)",
    "x: int) -> int",
    "x: str) -> str",
)
main(
    SAME,
    "TYPE_CHECKING import",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os\n@task\ndef run(x): return x",
    "import os",
    "import sys",
)
main(
    SAME,
    "__all__ changed",
    "__all__ = ['run']\n@task\ndef run(x): return x",
    "['run']",
    "['run', 'task']",
)
main(
    SAME,
    "main guard added",
    "@task\ndef run(x): return x\nEND=1",
    "END=1",
    "if __name__ == '__main__':\n    print(run(1))",
)
main(
    SAME,
    "print at import",
    "@task\ndef run(x): return x\nEND=1",
    "END=1",
    "import sys; print('hi', file=sys.stderr)",
)

_RUNNER = """
import importlib, json, os, sys

def versions(root):
    found = {}
    for name in sorted(os.listdir(root)):
        folder = os.path.join(root, name)
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        try:
            task = importlib.import_module("main").run
            found[name] = task.code_version
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
        sys.path.remove(folder)
        for module in [n for n, m in sys.modules.items() if _is_below(m, folder)]:
            del sys.modules[module]
        sys.path_importer_cache.clear()
    return found

def _is_below(module, folder):
    space = getattr(module, "__dict__", {})
    places = [space.get("__file__") or "", *space.get("__path__", ())]
    return any(place.startswith(folder + os.sep) for place in places)

print(json.dumps(versions(sys.argv[1])))
"""


def _write(root: Path, number: int, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / f"{number:03}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _versions(root: Path, seed: str) -> dict[str, str]:
    repository = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": repository,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUNNER, str(root)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], ...]:
    """The code versions of all cases: before the edits, before them again, and after them."""
    roots = [tmp_path_factory.mktemp(phase) for phase in ("before", "again", "after")]
    for number, this in enumerate(CASES):
        for root, files in zip(roots, (this.before, this.before, this.after), strict=True):
            _write(root, number, files)
    return tuple(_versions(root, seed) for root, seed in zip(roots, "123", strict=True))


@pytest.mark.parametrize("number", range(len(CASES)), ids=[this.name for this in CASES])
def test_an_edit_counts_exactly_if_it_can_change_the_result(
    versions: tuple[dict[str, str], ...], number: int
) -> None:
    before, again, after = (phase[f"{number:03}"] for phase in versions)
    assert before.startswith("xxh3:"), before
    assert after.startswith("xxh3:"), after
    assert before == again, "not the same in another process, under another PYTHONHASHSEED"
    assert (SAME if before == after else CHANGES) == CASES[number].expected


def test_names_of_cases_differ() -> None:
    names = [this.name for this in CASES]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)
