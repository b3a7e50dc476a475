"""Edits of classes that work together: mixins, plug-ins, enumerations, tuples, abstract bases."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "mixins and cooperative classes",
        """
        import abc, functools, typing
        class Base:
            def __init__(self, **kw): self.log = ["base", *sorted(kw)]
            def step(self): return ["base"]
            def describe(self): return type(self).__name__, self.kind, [c.__name__ for c in type(self).__mro__]
            kind = "k"
        class Timed:
            unit = "s"
            def __init__(self, *, limit=1, **kw):
                super().__init__(**kw)
                self.limit = limit
            def step(self): return ["timed" + self.unit, *super().step()]
        class Named:
            def __init__(self, *, name="n", **kw):
                super().__init__(**kw)
                self.name = name
            def step(self): return ["named", *super().step()]
        class Job(Timed, Named, Base):
            def step(self): return [self.limit, self.name, *super().step(), *self.log]
        class Other(Named, Base): pass
        class Value:
            def __init__(self, v): self._v = v
            @property
            def v(self): return self._v
            @v.setter
            def v(self, new): self._v = new
        class Doubled(Value):
            @Value.v.setter
            def v(self, new): self._v = new * 2
        class Tripled(Value):
            v = property(lambda self: self._v * 3, Value.v.fset)
        class Single(type):
            made = {}
            def __call__(cls, *a):
                if cls not in Single.made: Single.made[cls] = super().__call__(*a)
                return Single.made[cls]
            @classmethod
            def __prepare__(mcls, name, bases, **kw): return {"given": name * 2}
        class Config(metaclass=Single):
            def __init__(self, n=4): self.n = n
        CONFIG = Config()
        class Shape(abc.ABC):
            @abc.abstractmethod
            def area(self): ...
            def double(self): return self.area() * 2
        @Shape.register
        class Square:
            def area(self): return 9
        class Round(Shape):
            def area(self): return 7
        @typing.runtime_checkable
        class Sized(typing.Protocol):
            def size(self): ...
        class Big:
            def size(self): return 99
        @task
        def run(x):
            d, t = Doubled(1), Tripled(1)
            d.v = x
            t.v = x
            return (Job(limit=x, extra=1).step(), Job().describe()[1:2], d.v, t.v, CONFIG.n, Config.given,
                    isinstance(Square(), Shape), Round().double(), isinstance(Big(), Sized), len(Job.__mro__))
        """,
        (EXECUTES, "base", 'def step(self): return ["base"]', 'def step(self): return ["BASE"]'),
        (EXECUTES, "__init__ of a base", '["base", *sorted(kw)]', '["root", *sorted(kw)]'),
        (EXECUTES, "mixin", '["named", *super().step()]', '[*super().step(), "named"]'),
        (EXECUTES, "class attribute of a mixin", 'unit = "s"', 'unit = "ms"'),
        (EXECUTES, "keyword default of a mixin", 'name="n"', 'name="m"'),
        (EXECUTES, "mixins swapped", "class Job(Timed, Named, Base)", "class Job(Named, Timed, Base)"),
        (EXECUTES, "mixin dropped", "class Job(Timed, Named, Base):\n    def step(self): return [self.limit, self.name,", "class Job(Named, Base):\n    def step(self): return [1, self.name,", "Job(limit=x, extra=1)", "Job(extra=1)"),
        (EXECUTES, "super() dropped", 'return ["timed" + self.unit, *super().step()]', 'return ["timed" + self.unit]'),
        (EXECUTES, "setter added to an inherited property", "self._v = new * 2", "self._v = new * 4"),
        (EXECUTES, "property of a lambda", "self._v * 3", "self._v * 5"),
        (EXECUTES, "base setter shared by reference", "def v(self, new): self._v = new\nclass", "def v(self, new): self._v = new + 1\nclass"),
        (EXECUTES, "state of a singleton", "n=4", "n=5"),
        (EXECUTES, "__prepare__", "name * 2", "name * 3"),
        (EXECUTES, "abstract base registered no more", "@Shape.register\n", ""),
        (EXECUTES, "concrete method of an ABC", "self.area() * 2", "self.area() * 3"),
        (EXECUTES, "protocol's method renamed", "class Sized(typing.Protocol):\n    def size(self): ...", "class Sized(typing.Protocol):\n    def sizes(self): ..."),
        (HITS, "class that nobody uses", "class Other(Named, Base): pass", "class Other(Base): pass"),
        (HITS, "comment in a mixin", "class Timed:", "class Timed:  # limits"),
        (HITS, "annotations of a mixin", "def __init__(self, *, limit=1, **kw):", "def __init__(self, *, limit: float = 1, **kw: object) -> None:"),
        (HITS, "docstring of an ABC", "class Shape(abc.ABC):", "class Shape(abc.ABC):\n    '''A shape.'''"),
        (HITS, "body of an abstract method", "def area(self): ...\n    def double", "def area(self): pass\n    def double"),
        (COARSE, "method of a registered class that is not called", "def area(self): return 9", "def area(self): return 10"),
    ),
    project(
        "plug-ins by __init_subclass__ in other modules",
        """
        # main.py
        from tasklineage import task
        from core import Plugin, make
        import plugins
        @task
        def run(x): return [make(n).work(x) for n in sorted(Plugin.registry)], Plugin.order
        # core.py
        class Plugin:
            registry = {}
            order = []
            def __init_subclass__(cls, *, key=None, **kw):
                super().__init_subclass__(**kw)
                cls.registry[key or cls.__name__.lower()] = cls
                cls.order.append(cls.__name__)
            def work(self, x): return self.pre(x) * self.factor
            def pre(self, x): return x
            factor = 1
        def make(name): return Plugin.registry[name]()
        # plugins/__init__.py
        from . import one
        from .two import *
        # plugins/one.py
        from core import Plugin
        from ._shared import scale
        class One(Plugin):
            factor = 2
            def pre(self, x): return scale(x)
        # plugins/two.py
        from core import Plugin
        class Two(Plugin, key="zwei"): factor = 3
        class _Hidden(Plugin): factor = 4
        # plugins/three.py
        from core import Plugin
        class Three(Plugin): factor = 5
        # plugins/_shared.py
        def scale(x): return x + 10
        def unused(x): return x
        """,
        (EXECUTES, "plugin's class attribute", "factor = 2", "factor = 20"),
        (EXECUTES, "helper of a plugin", "x + 10", "x + 11"),
        (EXECUTES, "key of a plugin", 'key="zwei"', 'key="deux"'),
        (EXECUTES, "hidden plugin", "factor = 4", "factor = 40"),
        (EXECUTES, "plugin imported from now on", "from . import one\n", "from . import one, three\n"),
        (EXECUTES, "order of imports", "from . import one\nfrom .two import *", "from .two import *\nfrom . import one"),
        (EXECUTES, "registering", "key or cls.__name__.lower()", "key or cls.__name__.upper()"),
        (EXECUTES, "base method", "self.pre(x) * self.factor", "self.pre(x) + self.factor"),
        (HITS, "plugin that nobody imports", "factor = 5", "factor = 50"),
        (HITS, "unused helper of a plugin", "def unused(x): return x", "def unused(x): return -x"),
        (HITS, "docstring of a plugin", "class One(Plugin):", "class One(Plugin):\n    'One.'"),
        (HITS, "plugin removed that nobody imports", {"plugins/three.py": None}),
    ),
    project(
        "enumerations",
        """
        import enum, operator
        class Color(enum.StrEnum):
            RED = enum.auto()
            BLUE = enum.auto()
            @classmethod
            def parse(cls, text): return cls(text.lower())
            @property
            def hex(self): return HEX[self]
            def __str__(self): return "<" + self.value + ">"
        HEX = {"red": "#f00", "blue": "#00f"}
        class Planet(enum.Enum):
            EARTH = (5, 6)
            MARS = (3, 4)
            def __init__(self, mass, radius): self.mass, self.radius = mass, radius
            @property
            def gravity(self): return self.mass / self.radius ** G
        G = 2
        class Perm(enum.Flag):
            R = 1
            W = 2
            RW = R | W
            def can(self, other): return other in self
        class Auto(enum.Enum):
            def _generate_next_value_(name, start, count, last): return name + str(count)
            A = enum.auto()
            B = enum.auto()
        class Op(enum.IntEnum):
            ADD = 1
            SUB = 2
            @property
            def f(self): return {Op.ADD: operator.add, Op.SUB: operator.sub}[self]
            @enum.nonmember
            class Meta: level = 3
        class Weekday(enum.Enum):
            MON, TUE = 1, 2
            @staticmethod
            def first(): return Weekday.MON
            def next(self): return Weekday(self.value + 1)
        def kind(c):
            match c:
                case Color.RED: return "r"
                case Planet.EARTH | Planet.MARS: return "p"
                case Weekday(value=v): return v
                case _: return "?"
        @task
        def run(x): return (Color.parse("RED").hex, str(Color.BLUE), Planet.EARTH.gravity, Perm.RW.can(Perm.W), Auto.B.value, Op.ADD.f(x, 1),
                            Op.Meta.level, Op.SUB.f(x, 1), Weekday.first().next().name, kind(Color.RED), kind(Planet.MARS), kind(Weekday.TUE), list(Perm.RW)[0].name)
        """,
        (EXECUTES, "class method", "cls(text.lower())", "cls('blue')"),
        (EXECUTES, "table that a property reads", '"red": "#f00"', '"red": "#e00"'),
        (EXECUTES, "__str__", '"<" + self.value + ">"', '"[" + self.value + "]"'),
        (EXECUTES, "members with fields", "EARTH = (5, 6)", "EARTH = (5, 7)"),
        (EXECUTES, "fields swapped", "self.mass, self.radius = mass, radius", "self.radius, self.mass = mass, radius"),
        (EXECUTES, "global of a property", "G = 2\n", "G = 3\n"),
        (EXECUTES, "flag added", "RW = R | W", "X = 4\n    RW = R | X"),
        (EXECUTES, "_generate_next_value_", "name + str(count)", "name + str(count + 1)"),
        (EXECUTES, "operator of a member", "Op.SUB: operator.sub", "Op.SUB: operator.mul"),
        (EXECUTES, "nonmember", "level = 3", "level = 4"),
        (EXECUTES, "static method", "return Weekday.MON", "return Weekday.MON.next()", "Weekday(self.value + 1)", "Weekday(self.value % 2 + 1)"),
        (EXECUTES, "case of a match", 'return "r"', 'return "R"'),
        (EXECUTES, "class pattern", "Weekday(value=v)", "Weekday(name=v)"),
        (EXECUTES, "alternatives", "case Planet.EARTH | Planet.MARS", "case Planet.EARTH"),
        (HITS, "docstring", "class Planet(enum.Enum):", "class Planet(enum.Enum):\n    'Near ones.'"),
        (HITS, "comment", "    MARS = (3, 4)", "    MARS = (3, 4)  # red"),
        (HITS, "types", "def can(self, other)", "def can(self, other: 'Perm') -> bool"),
    ),
    project(
        "tuples and dicts with types",
        """
        import typing, collections, dataclasses
        class Point(typing.NamedTuple):
            x: int
            y: int = 2
            @property
            def total(self): return self.x + self.y
            def __add__(self, other): return Point(self.x + other.x, self.y)
            @classmethod
            def origin(cls): return cls(0)
        Pair = collections.namedtuple("Pair", "left right", defaults=[9])
        class Loud(Pair):
            def shout(self): return str(self.left) + "!"
        class Movie(typing.TypedDict, total=False):
            name: str
            year: int
        def build(n) -> Movie: return {"name": n, "year": 3}
        T = typing.TypeVar("T", bound=int)
        class Box(typing.Generic[T]):
            def __init__(self, v: T): self.v = v
            def map(self, f: "typing.Callable[[T], T]") -> "Box[T]": return Box(f(self.v))
        IntBox = Box[int]
        UserId = typing.NewType("UserId", int)
        Alias = dict[str, list[int]]
        def hints(): return sorted(typing.get_type_hints(hinted).items(), key=str)
        def hinted(a: int, b: str = "") -> float: return 0
        def keys(): return sorted(Movie.__annotations__)
        @dataclasses.dataclass(order=True)
        class Row:
            key: int = dataclasses.field(compare=True)
            _: dataclasses.KW_ONLY
            note: str = dataclasses.field(default="n", metadata={"unit": "m"})
            tags: list = dataclasses.field(default_factory=lambda: list("ab"))
        def units(): return [f.metadata.get("unit") for f in dataclasses.fields(Row)]
        @task
        def run(x): return (Point(1).total, Point(1) + Point(2), Point.origin(), Pair(1), Loud(2).shout(), build("m"), IntBox(x).map(lambda v: v + 1).v,
                            UserId(4), hints(), keys(), Row(1), units(), Point._fields, Point(1)._replace(y=5), [*Point(7)])
        """,
        (EXECUTES, "default", "y: int = 2", "y: int = 3"),
        (EXECUTES, "property", "self.x + self.y", "self.x - self.y"),
        (EXECUTES, "operator", "Point(self.x + other.x, self.y)", "Point(self.x, self.y)"),
        (EXECUTES, "class method", "return cls(0)", "return cls(1)"),
        (EXECUTES, "default of a namedtuple", "defaults=[9]", "defaults=[8]"),
        (EXECUTES, "field of a namedtuple", '"left right"', '"left wright"'),
        (EXECUTES, "subclass of a namedtuple", '+ "!"', '+ "?"'),
        (EXECUTES, "field added", "    y: int = 2\n", "    y: int = 2\n    z: int = 0\n"),
        (EXECUTES, "function of a box", "Box(f(self.v))", "Box(f(f(self.v)))"),
        (EXECUTES, "hints that are read", "def hinted(a: int,", "def hinted(a: bytes,"),
        (EXECUTES, "keys of a TypedDict that are read", "    year: int", "    years: int"),
        (EXECUTES, "metadata that is read", '"unit": "m"', '"unit": "cm"'),
        (EXECUTES, "factory", 'list("ab")', 'list("abc")'),
        (EXECUTES, "keyword-only mark", "    _: dataclasses.KW_ONLY\n", "    zero: int = 0\n    _: dataclasses.KW_ONLY\n"),
        (HITS, "bound of a type variable", "bound=int", "bound=float"),
        (HITS, "alias of a type", "dict[str, list[int]]", "dict[str, list[str]]"),
        (HITS, "new type of another", '"UserId", int', '"UserId", float'),
        (COARSE, "annotation of another function where hints are read", "def build(n) -> Movie", "def build(n: str) -> 'Movie'"),
        (COARSE, "annotation of a method where hints are read", "def __init__(self, v: T)", "def __init__(self, v: int)"),
        (HITS, "docstring of a named tuple", "class Point(typing.NamedTuple):", "class Point(typing.NamedTuple):\n    'Where.'"),
        (COARSE, "total of a TypedDict", "total=False", "total=True"),
    ),
    project(
        "abstract bases that know classes",
        """
        # main.py
        import collections.abc, numbers, functools
        from tasklineage import task
        from shapes import Shape, Square, Ring, Seq, Num
        @functools.singledispatch
        def show(x): return "any"
        @show.register(collections.abc.Sequence)
        def _(x): return "sequence"
        @show.register(Shape)
        def _(x): return "shape"
        @task
        def run(x): return isinstance(Square(), Shape), issubclass(Ring, Shape), show(Seq()), show(Ring()), isinstance(Num(), numbers.Number), show(x)
        # shapes.py
        import abc, collections.abc, numbers
        class Shape(abc.ABC):
            @classmethod
            def __subclasshook__(cls, other): return True if "ring" in vars(other) else NotImplemented
        class Square: pass
        class Ring:
            ring = True
        class Seq: pass
        class Num: pass
        Shape.register(Square)
        collections.abc.Sequence.register(Seq)
        numbers.Number.register(Num)
        class Unrelated(abc.ABC): pass
        """,
        (EXECUTES, "registered no more", "Shape.register(Square)\n", ""),
        (EXECUTES, "registered with the library no more", "collections.abc.Sequence.register(Seq)\n", ""),
        (EXECUTES, "number no more", "numbers.Number.register(Num)\n", ""),
        (EXECUTES, "hook", '"ring" in vars(other)', '"rings" in vars(other)'),
        (HITS, "registered with another", "class Unrelated(abc.ABC): pass", "class Unrelated(abc.ABC): pass\nUnrelated.register(Square)"),
        (HITS, "registered twice", "Shape.register(Square)\n", "Shape.register(Square)\nShape.register(Square)\n"),
    ),
]
