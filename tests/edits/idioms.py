"""Edits of what bigger programs are made of: registries, validators, protocols, settings."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, Start, project

PROJECTS = [
    project(
        "dispatch",
        """
        import functools, operator, typing, types
        class Shape: pass
        class Circle(Shape):
            __match_args__ = ("r", "q")
            def __init__(self, r, q): self.r, self.q = r, q
        class Area:
            @functools.singledispatchmethod
            def of(self, x): return "unknown"
            @of.register
            def _(self, x: int): return x * 2
            @of.register(str)
            def _text(self, x): return x + "!"
            half = functools.partialmethod(lambda self, by, x: x / by, 2)
        def matched(value):
            match value:
                case Circle(first): return first
                case Shape(): return "shape"
                case {"kind": "a" | "b" as kind, **rest}: return kind, rest
                case [int(), *rest] if len(rest) > 1: return rest
                case _: return None
        def by_size(a, b): return (a > b) - (a < b)
        KEY = functools.cmp_to_key(by_size)
        OPS = {"+": operator.add, "neg": operator.neg, "get": operator.itemgetter("k")}
        VISITORS = {int: lambda v: v + 1, str: str.upper}
        class Visitor:
            def visit(self, node): return getattr(self, "visit_" + type(node).__name__, self.other)(node)
            def visit_int(self, node): return node + 30
            def visit_str(self, node): return node + "s"
            def other(self, node): return None
        @task
        def run(x):
            area = Area()
            return (area.of(x), area.of("t"), area.of(None), area.half(6), matched(Circle(1, 2)), matched({"kind": "a", "z": 1}),
                    matched([1, 2, 3]), sorted([3, 1, 2], key=KEY), OPS["+"](x, 1), OPS["get"]({"k": 1}), VISITORS[type(x)](x), Visitor().visit(x))
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("__match_args__", '("r", "q")', '("q", "r")'),
                ("singledispatchmethod by annotation", "x * 2", "x * 3"),
                ("annotation that is dispatched on", "x: int", "x: bool"),
                ("singledispatchmethod by argument", '"!"', '"?"'),
                ("singledispatchmethod default", '"unknown"', '"none"'),
                ("argument of partialmethod", "x / by, 2", "x / by, 3"),
                ("function of partialmethod", "x / by", "x // by"),
                ("match with as", '"a" | "b" as kind', '"b" | "c" as kind'),
                ("match guard", "len(rest) > 1", "len(rest) > 2"),
                ("cmp_to_key", "(a > b) - (a < b)", "(a < b) - (a > b)"),
                ("operator in a dict", "operator.add", "operator.mul"),
                ("function by type", "v + 1", "v + 2"),
                ("visitor", "node + 30", "node + 31"),
            ]
        ],
        (
            HITS,
            "comment in a visitor",
            "def other(self, node)",
            "# rest\n    def other(self, node)",
        ),
        (COARSE, "visitor of another type", 'node + "s"', 'node + "t"'),
        (COARSE, "function of another type", "str.upper", "str.lower"),
    ),
    project(
        "objects of C code",
        """
        import codecs, contextvars, decimal, functools, itertools, json, re, string, struct, types, weakref
        HEADER = struct.Struct("<I")
        DECODER = json.JSONDecoder(parse_float=str)
        ENCODER = json.JSONEncoder(sort_keys=True)
        TEMPLATE = string.Template("$a-$b")
        CONTEXT = decimal.Context(prec=3)
        LEVEL = contextvars.ContextVar("level", default=2)
        DEPTH = contextvars.ContextVar("depth")
        DEPTH.set(4)
        PATTERN = re.compile("(a+)b", re.I)
        class Plugin:
            known = weakref.WeakSet()
            named = weakref.WeakValueDictionary()
            def __init__(self, name):
                self.name = name
                self.known.add(self)
                self.named[name] = self
        FIRST, SECOND = Plugin("one"), Plugin("two")
        PROXY = types.MappingProxyType({"k": lambda v: v + 7})
        SPACE = types.SimpleNamespace(f=lambda v: v + 8, deep=types.SimpleNamespace(n=9))
        @task
        def run(x):
            return (HEADER.pack(x), DECODER.decode("[1.5]"), ENCODER.encode({"b": 1, "a": 2}), TEMPLATE.substitute(a=1, b=2), CONTEXT.divide(1, 3),
                    LEVEL.get(), DEPTH.get(), PATTERN.findall("aAb"), sorted(p.name for p in Plugin.known), Plugin.named["one"].name,
                    PROXY["k"](x), SPACE.f(x), SPACE.deep.n)
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("struct", '"<I"', '">I"'),
                ("json decoder", "parse_float=str", "parse_float=float"),
                ("json encoder", "sort_keys=True", "sort_keys=False"),
                ("template", '"$a-$b"', '"$b-$a"'),
                ("decimal context", "prec=3", "prec=4"),
                ("default of a context variable", "default=2", "default=3"),
                ("value of a context variable", "DEPTH.set(4)", "DEPTH.set(5)"),
                ("flags of a regex", ", re.I)", ")"),
                ("element of a WeakSet", 'Plugin("two")', 'Plugin("three")'),
                ("function in a proxy", "v + 7", "v + 70"),
                ("function in a namespace", "v + 8", "v + 80"),
                ("nested namespace", "n=9", "n=90"),
            ]
        ],
        (HITS, "struct written otherwise", '"<I"', '"<" + "I"'),
        (HITS, "flags written otherwise", "re.I", "re.IGNORECASE"),
        (HITS, "name of a context variable", '"depth"', '"depths"'),
    ),
    project(
        "patched libraries",
        """
        import collections, json, statistics, string, textwrap, colorsys, fractions
        from json import encoder
        def total(self): return sum(self) + 1
        collections.UserList.total = property(total)
        collections.UserList.make = classmethod(lambda cls: cls([1, 2]))
        collections.UserList.half = staticmethod(lambda v: v / 2)
        colorsys.ONE_THIRD = 0.5
        string.digits = "01"
        class Loud(str):
            def __str__(self): return "loud"
        textwrap.Loud = Loud
        original = fractions.Fraction.__add__
        fractions.Fraction.__add__ = lambda self, other: original(self, other) * 2
        @task
        def run(x):
            found = collections.UserList([x])
            return found.total, found.make(), found.half(5), colorsys.ONE_THIRD, string.digits, str(textwrap.Loud("a")), fractions.Fraction(1, 2) + 1
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("property of a class", "sum(self) + 1", "sum(self) + 2"),
                ("class method of a class", "cls([1, 2])", "cls([1, 3])"),
                ("static method of a class", "v / 2", "v / 4"),
                ("number of a module", "= 0.5", "= 0.25"),
                ("text of a module", '"01"', '"012"'),
                ("class put into a module", '"loud"', '"LOUD"'),
                ("special method of a class", "other) * 2", "other) * 3"),
            ]
        ],
        (HITS, "comment", "def total(self): return", "def total(self):  # patched\n    return"),
        (HITS, "patch of what nobody uses", "class Loud", "string.hexdigits = 'x'\nclass Loud"),
    ),
    project(
        "dataclasses of every kind",
        """
        from __future__ import annotations
        import dataclasses, enum, reprlib, typing, functools
        from dataclasses import dataclass, field, KW_ONLY, replace
        from tasklineage import task
        T = typing.TypeVar("T")
        def fresh(): return ["f"]
        def now(): return 3
        @dataclass(slots=True)
        class Slotted(typing.Generic[T]):
            n: int = 2
            names: list[T] = field(default_factory=fresh)
            def __post_init__(self): self.n = self.n * 2
            def __add__(self, other): return self.n + other
            @reprlib.recursive_repr()
            def __repr__(self): return f"<{self.n}>"
        @dataclass(frozen=True, kw_only=True)
        class Frozen:
            a: int = field(default=1, compare=False)
            b: int = 2
            @functools.cached_property
            def slow(self): return self.b * 3
            @property
            def both(self): return self.a + self.b
            def moved(self): return replace(self, b=9)
        @dataclass
        class Base:
            x: int = 1
            def show(self): return self.x
        @dataclass
        class Derived(Base):
            y: int = 2
            _: KW_ONLY
            z: int = 3
            def show(self): return super().show() + self.y
        @dataclass
        class Patched:
            v: int = 5
        Patched.__init__.__defaults__ = (50,)
        Made = dataclasses.make_dataclass("Made", [("p", int, 7)], namespace={"twice": lambda self: self.p * 2})
        class Level(enum.IntEnum):
            LOW = 1
            HIGH = 2
            def label(self): return f"level {self.value}"
            @classmethod
            def top(cls): return max(cls)
        class Op(enum.Enum):
            ADD = enum.member(functools.partial(lambda a, b: a + b))
            TABLE = {"k": [1]}
            def __init__(self, made): self.made = 4
            def __call__(self, *args): return self.value(*args)
        class Pair(typing.NamedTuple):
            left: int
            right: typing.Any = now()
            @property
            def total(self): return self.left + self.right
        FROZEN = Frozen(b=4)
        space = {"dataclass": dataclass, "__name__": __name__}
        exec('''@dataclass
        class FromText:
            n: int = 1
            def __post_init__(self): self.n += 10
            def __eq__(self, other): return True
        '''.replace("\\n        ", "\\n"), space)
        FromText = space["FromText"]
        @task
        def run(x):
            frozen = Frozen()
            return (repr(Slotted()), Slotted(3).names, Slotted() + 1, frozen.slow, frozen.both, frozen.moved(), frozen == Frozen(a=5), FROZEN.b,
                    Derived().show(), Derived(z=4).z, Patched().v, Made().twice(), Level.HIGH.label(), Level.top(), Op.ADD(x, 1), Op.TABLE.value["k"],
                    Op.ADD.made, Pair(x).total, FromText().n, FromText() == 0)
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("slots: default", "n: int = 2", "n: int = 3"),
                ("slots: factory by name", 'return ["f"]', 'return ["g"]'),
                ("slots: __post_init__", "self.n * 2", "self.n * 4"),
                ("slots: operator", "self.n + other", "self.n - other"),
                ("own repr that is guarded", 'f"<{self.n}>"', 'f"({self.n})"'),
                ("comparison of a field", "compare=False", "compare=True"),
                ("cached property", "self.b * 3", "self.b * 5"),
                ("property", "self.a + self.b", "self.a - self.b"),
                ("replace", "b=9", "b=8"),
                ("frozen instance", "Frozen(b=4)", "Frozen(b=6)"),
                ("default of a base", "    x: int = 1", "    x: int = 10"),
                ("super", "super().show() + self.y", "super().show() - self.y"),
                (
                    "keyword-only field",
                    "z: int = 3",
                    "z: int = 3; w: int = field(default=0, init=False)\n    def __post_init__(self): self.z = 0",
                ),
                ("defaults of __init__ replaced", "(50,)", "(60,)"),
                ("made by make_dataclass", "self.p * 2", "self.p * 3"),
                ("default of make_dataclass", '"p", int, 7', '"p", int, 8'),
                ("method of an enumeration", 'f"level {', 'f"Level {'),
                ("class method of an enumeration", "max(cls)", "min(cls)"),
                ("function as a member", "a + b)", "a - b)"),
                ("mutable value of a member", '{"k": [1]}', '{"k": [2]}'),
                ("__init__ of a member", "self.made = 4", "self.made = 5"),
                ("__call__ of a member", "self.value(*args)", "-self.value(*args)"),
                ("computed default of a named tuple", "def now(): return 3", "def now(): return 4"),
                ("property of a named tuple", "self.left + self.right", "self.left - self.right"),
                ("method of a dataclass made of text", "self.n += 10", "self.n += 20"),
                ("__eq__ of a dataclass made of text", "return True", "return False"),
            ]
        ],
        (HITS, "docstring", "class Base:", "class Base:\n    'Base.'"),
        (HITS, "comment on a field", "n: int = 2", "n: int = 2  # how many"),
        (HITS, "defaults replaced by the same", "(50,)", "(25 * 2,)"),
    ),
    project(
        "validators of others",
        """
        import attrs, pydantic, typing
        def positive(instance, attribute, value):
            if value < 0: raise ValueError("negative")
        @attrs.frozen
        class Point:
            x: int = attrs.field(default=1, validator=positive)
            y: int = attrs.field(converter=int, default="2")
            @x.validator
            def _check(self, attribute, value): self.noted(value)
            def noted(self, value): return value
            def __attrs_post_init__(self): object.__setattr__(self, "z", self.x * 10) if False else None
        def clean(value): return value.strip().upper()
        Name = typing.Annotated[str, pydantic.AfterValidator(clean)]
        class Settings(pydantic.BaseModel):
            name: Name = "a"
            size: int = pydantic.Field(3, gt=0)
            tags: list[str] = pydantic.Field(default_factory=lambda: ["t"])
            @pydantic.model_validator(mode="after")
            def _all(self):
                self.__dict__["size"] = self.size + 1
                return self
            @pydantic.field_serializer("size")
            def _size(self, value): return value * 100
        @pydantic.validate_call
        def checked(n: int, by: float = 2) -> float: return n, by
        ADAPTER = pydantic.TypeAdapter(dict[str, int])
        @task
        def run(x): return Point(y="5").y, Point().x, Settings(name=" b ").model_dump(), checked("4"), ADAPTER.validate_python({"a": "1"})
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("attrs converter", "converter=int", "converter=float"),
                ("attrs default", "default=1", "default=11"),
                ("function in an annotation", ".upper()", ".lower()"),
                ("default", "pydantic.Field(3, gt=0)", "pydantic.Field(4, gt=0)"),
                ("default factory", 'lambda: ["t"]', 'lambda: ["u"]'),
                ("model validator", "self.size + 1", "self.size + 2"),
                ("serializer", "value * 100", "value * 1000"),
                ("annotation that is checked", "n: int", "n: str"),
                ("body of a checked function", "return n, by", "return by, n"),
                ("type of an adapter", "dict[str, int]", "dict[str, str]"),
            ]
        ],
        (COARSE, "attrs validator that passes", "value < 0", "value < -1"),
        (HITS, "comment", "def clean(value): return", "def clean(value):  # shout\n    return"),
    ),
    project(
        "globals of numbers",
        """
        import numpy as np, pandas as pd, datetime as dt, logging, warnings, math, functools, random
        WEIGHTS = np.linspace(0, 1, 5)
        MASK = WEIGHTS > 0.3
        FRAME = pd.DataFrame({"a": [1, 2, 3], "b": list("xyz")}).set_index("b")
        LOOKUP = FRAME["a"].to_dict()
        WHEN = pd.Timestamp("2024-01-01", tz="UTC")
        RNG = np.random.default_rng(5)
        SCALE = np.float32(2)
        POLY = np.poly1d([1, 2])
        VECTOR = np.vectorize(lambda v: v + 1)
        UFUNC = np.frompyfunc(lambda v: v + 2, 1, 1)
        DTYPE = np.dtype([("a", "i4")])
        log = logging.getLogger(__name__)
        @task
        def run(x):
            log.info("x")
            return (WEIGHTS[MASK].sum(), FRAME.loc["x", "a"], LOOKUP["y"], WHEN.year, SCALE * x, POLY(x), VECTOR([1])[0], UFUNC(3), DTYPE.itemsize, math.prod([2, 3]))
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("array", "linspace(0, 1, 5)", "linspace(0, 2, 5)"),
                ("mask", "> 0.3", "> 0.6"),
                ("frame", "[1, 2, 3]", "[4, 5, 6]"),
                ("index", '"xyz"', '"yxz"'),
                ("time", '"2024-01-01"', '"2025-01-01"'),
                ("scalar", "np.float32(2)", "np.float32(3)"),
                ("polynomial", "poly1d([1, 2])", "poly1d([1, 3])"),
                ("vectorized function", "v + 1", "v + 10"),
                ("ufunc of a function", "v + 2", "v + 20"),
                ("dtype", '"i4"', '"i8"'),
            ]
        ],
        (HITS, "generator that is not used", "default_rng(5)", "default_rng(6)"),
        (HITS, "array written otherwise", "np.linspace(0, 1, 5)", "np.array([0, .25, .5, .75, 1])"),
    ),
    project(
        "conditional definitions",
        """
        import os, sys
        FAST = False
        if FAST:
            def compute(x): return x + 1
        else:
            def compute(x): return x + 2
        for _name in ("alpha", "beta"):
            globals()[f"get_{_name}"] = (lambda n: lambda: n)(_name)
        def temporary(): return 1
        KEPT = temporary()
        del temporary
        class Config:
            DEBUG = FAST
            if DEBUG:
                level = 10
            else:
                level = 20
            names = [n.upper() for n in ("a", "b")]
            locals()["dynamic"] = 5
        for _k, _v in {"one": 1, "two": 2}.items():
            setattr(Config, _k, _v)
        try:
            import absent_module
        except ImportError:
            absent_module = None
        assert (walrus := 6)
        FIRST, *REST = range(4)
        [[NESTED]] = [[8]]
        with open(os.devnull) as _file:
            OPENED = _file.read()
        MODE = os.environ.get("ABSENT_VARIABLE", "plain")
        LINES = [line for line in \"\"\"a
        b\"\"\".splitlines()]
        @task
        def run(x):
            return compute(x), get_alpha(), KEPT, Config.level, Config.names, Config.dynamic, Config.one, absent_module, walrus, REST, NESTED, OPENED, MODE, LINES
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("condition", "FAST = False", "FAST = True"),
                ("definition that is taken", "x + 2", "x + 3"),
                ("what was deleted", "return 1", "return 3"),
                ("branch of a class body", "level = 20", "level = 30"),
                ("comprehension of a class body", "n.upper()", "n.lower()"),
                ("locals of a class body", '["dynamic"] = 5', '["dynamic"] = 6'),
                ("setattr in a loop", '"one": 1', '"one": 3'),
                ("walrus", "walrus := 6", "walrus := 7"),
                ("unpacking", "range(4)", "range(5)"),
                ("nested unpacking", "[[8]]", "[[9]]"),
                ("default of a variable of the environment", '"plain"', '"fancy"'),
            ]
        ],
        (HITS, "definition that is not taken", "x + 1", "x + 10"),
        (HITS, "branch of a class body that is not taken", "level = 10", "level = 11"),
        (COARSE, "attribute set in a loop and not read", '"two": 2', '"two": 3'),
        (HITS, "unpacked and not read", "FIRST, *REST", "OTHER, *REST"),
    ),
    project(
        "star imports",
        """
        # main.py
        from tasklineage import task
        from tools import *
        from pack import *
        import pack.sub
        @task
        def run(x): return helper(x), sub.value, visible
        # tools.py
        from inner import *
        __all__ = ["helper", "extra"]
        def helper(x): return x + 1 + deep
        def extra(x): return x
        def _hidden(x): return x
        visible = 1
        # inner.py
        deep = 2
        shallow = 3
        # pack/__init__.py
        __all__ = ["sub", "visible"]
        visible = 4
        # pack/sub.py
        value = 5
        rest = 6
        """,
        (EXECUTES, "helper", "x + 1", "x + 10"),
        (EXECUTES, "name of a star in a star", "deep = 2", "deep = 20"),
        (EXECUTES, "submodule by __all__", "value = 5", "value = 50"),
        (EXECUTES, "name by __all__", "visible = 4", "visible = 40"),
        (
            EXECUTES,
            "name that __all__ hid",
            '__all__ = ["sub", "visible"]',
            '__all__ = ["sub"]',
            '["helper", "extra"]',
            '["helper", "extra", "visible"]',
        ),
        (HITS, "name that __all__ hides", "visible = 1", "visible = 10"),
        (HITS, "unused name", "shallow = 3", "shallow = 30"),
        (HITS, "function that is not used", "def extra(x): return x", "def extra(x): return -x"),
        (HITS, "__all__ longer", '["helper", "extra"]', '["helper", "extra", "_hidden"]'),
    ),
    project(
        "search path",
        """
        # main.py
        import os, sys
        from tasklineage import task
        VERSION = "first"
        sys.path.insert(0, os.path.abspath(VERSION))
        import tool
        @task
        def run(x): return tool.go(x)
        # first/tool.py
        def go(x): return x + 1
        # second/tool.py
        def go(x): return x + 2
        """,
        (EXECUTES, "other folder", 'VERSION = "first"', 'VERSION = "second"'),
        (EXECUTES, "module in the folder", "x + 1", "x + 10"),
        (HITS, "module in another folder", "x + 2", "x + 20"),
    ),
    project(
        "asynchronous helpers",
        """
        import asyncio, contextlib
        LIMIT = 2
        class Source:
            def __init__(self, n): self.n = n
            async def __aiter__(self):
                for i in range(self.n):
                    yield i + LIMIT
        class Lock:
            async def __aenter__(self): return "in"
            async def __aexit__(self, *error): pass
        @contextlib.asynccontextmanager
        async def opened(x):
            yield x + 1
            await asyncio.sleep(0)
        async def retry(function, *args):
            for _ in range(LIMIT):
                try:
                    return await function(*args)
                except ValueError:
                    continue
        async def flaky(x): return x + 5
        def timed(function):
            async def wrapper(*args): return await function(*args), "timed"
            return wrapper
        @timed
        async def slow(x): return x + 6
        @task
        async def run(x):
            async with asyncio.TaskGroup() as group:
                jobs = [group.create_task(slow(i)) for i in range(2)]
            async with opened(x) as value, Lock() as lock:
                return [i async for i in Source(2)], value, lock, await retry(flaky, x), [j.result() for j in jobs], {i: 1 async for i in Source(1)}
        def answer(): return asyncio.run(run(3))
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("asynchronous generator method", "yield i + LIMIT", "yield i - LIMIT"),
                ("global", "LIMIT = 2", "LIMIT = 3"),
                ("__aenter__", 'return "in"', 'return "inside"'),
                ("asynchronous context manager", "yield x + 1", "yield x + 10"),
                ("awaited by a helper", "x + 5", "x + 50"),
                ("wrapper of a coroutine", '"timed"', '"measured"'),
                ("wrapped coroutine", "x + 6", "x + 60"),
            ]
        ],
        (COARSE, "exception that is not raised", "except ValueError", "except KeyError"),
        (HITS, "comment", "async def flaky(x)", "# often\nasync def flaky(x)"),
    ),
    project(
        "a script with a guard",
        """
        # main.py
        import argparse
        from tasklineage import task
        import lib
        def build():
            parser = argparse.ArgumentParser()
            parser.add_argument("--n", type=int, default=3)
            return parser
        OPTIONS = build().parse_args([])
        @task
        def run(x): return lib.step(x) + OPTIONS.n
        def main(): return run(OPTIONS.n)
        def answer(): return main()
        if __name__ == "__main__":
            import sys
            main()
        # lib.py
        def step(x): return x + 1
        def other(x): return x
        """,
        (HITS, "as a module", Start("-m main")),
        (HITS, "imported", Start("import main")),
        (EXECUTES, "default of an option", "default=3", "default=4"),
        (EXECUTES, "helper", "x + 1", "x + 2"),
        (HITS, "another helper", "def other(x): return x", "def other(x): return -x"),
        (HITS, "what the guard does", "    import sys\n    main()", "    main()"),
        start="script main.py",
    ),
]
