"""Edits of classes: everything that a class can do, and what is made of classes."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "class",
        """
        class Root:
            level = 1
            def greet(self): return "root"
            def template(self): return self.greet(), self.level
        class Left(Root):
            def greet(self): return "left+" + super().greet()
        class Right(Root):
            def greet(self): return "right+" + super().greet()
        class Both(Left, Right):
            '''Both.'''
            limit: int = 3
            table = {"a": [1, 2]}
            def __init__(self, n=2):
                self.n = n
                self._hidden = 0
            @property
            def value(self): return self._hidden + self.n
            @value.setter
            def value(self, new): self._hidden = new * 2
            @value.deleter
            def value(self): self._hidden = -1
            @classmethod
            def made(cls, n): return cls(n + 1)
            @staticmethod
            def add(a, b): return a + b
            def _private(self): return self.limit
            def __mangled(self): return 11
            def call(self): return self._private() + self.__mangled()
            def unused(self): return 0
        class Unused(Root):
            def greet(self): return "unused"

        @task
        def run(x):
            both = Both()
            both.value = x
            first = both.value
            del both.value
            return both.template(), first, both.value, Both.made(x).n, Both.add(x, 1), both.call(), both.table["a"]
        """,
        (EXECUTES, "method of a base", 'return "root"', 'return "ROOT"'),
        (EXECUTES, "method that calls another through self", "return self.greet(), self.level", "return self.level"),
        (EXECUTES, "attribute of a base", "level = 1", "level = 2"),
        (EXECUTES, "override", '"left+"', '"LEFT+"'),
        (EXECUTES, "order of the bases", "Both(Left, Right)", "Both(Right, Left)"),
        (EXECUTES, "base removed", "Both(Left, Right)", "Both(Left)"),
        (EXECUTES, "override added", "    limit: int = 3", "    limit: int = 3\n    def greet(self): return 'both'"),
        (EXECUTES, "override removed", '    def greet(self): return "left+" + super().greet()', "    pass"),
        (EXECUTES, "attribute that hides one of a base", "    limit: int = 3", "    limit: int = 3\n    level = 9"),
        (EXECUTES, "property", "self._hidden + self.n", "self._hidden - self.n"),
        (EXECUTES, "property setter", "new * 2", "new * 3"),
        (EXECUTES, "property deleter", "self._hidden = -1", "self._hidden = -2"),
        (EXECUTES, "class method", "cls(n + 1)", "cls(n + 2)"),
        (EXECUTES, "static method", "return a + b", "return a - b"),
        (EXECUTES, "default of __init__", "n=2", "n=4"),
        (EXECUTES, "body of __init__", "self._hidden = 0", "self._hidden = 0; self.limit = 8"),
        (EXECUTES, "class attribute", "limit: int = 3", "limit: int = 4"),
        (EXECUTES, "mutable class attribute", '{"a": [1, 2]}', '{"a": [1, 3]}'),
        (EXECUTES, "private method", "return self.limit", "return -self.limit"),
        (EXECUTES, "mangled method", "return 11", "return 12"),
        (COARSE, "method that nobody calls", "def unused(self): return 0", "def unused(self): return 1"),
        (COARSE, "method that nobody calls is removed", "    def unused(self): return 0\n", ""),
        (COARSE, "method added", "    limit: int = 3", "    limit: int = 3\n    def more(self): return 1"),
        (HITS, "class that nobody uses", '"unused"', '"never"'),
        (HITS, "subclass added", "@task", "class Third(Both):\n    def greet(self): return 'third'\n\n@task"),
        (HITS, "docstring", "'''Both.'''", "'''Both of them.'''"),
        (HITS, "docstring removed", "    '''Both.'''\n", ""),
        (HITS, "docstring of a method", "def _private(self): return", "def _private(self):\n        'Limit.'\n        return"),
        (HITS, "comment", "class Left(Root):", "class Left(Root):  # one"),
        (HITS, "annotation of an attribute", "limit: int = 3", "limit: float = 3"),
        (HITS, "annotation without a value", "    limit: int = 3", "    limit: int = 3\n    other: str"),
        (HITS, "annotation of a method", "def made(cls, n)", "def made(cls, n: int) -> 'Both'"),
        (HITS, "order of methods", "    def unused(self): return 0\n", "",
         "    limit: int = 3", "    def unused(self): return 0\n    limit: int = 3"),
        (HITS, "order of attributes", '    limit: int = 3\n    table = {"a": [1, 2]}', '    table = {"a": [1, 2]}\n    limit: int = 3'),
        (HITS, "explicit object", "class Root:", "class Root(object):"),
        (HITS, "empty body", "class Root:", "class Root:\n    pass"),
        (HITS, "blank lines between methods", "    @staticmethod", "\n\n    @staticmethod"),
    ),
    project(
        "protocols of objects",
        """
        class Percent:
            def __set_name__(self, owner, name): self.name = "_" + name
            def __get__(self, owner, kind=None): return getattr(owner, self.name, 50) * 2
            def __set__(self, owner, value): setattr(owner, self.name, value + 1)
        class Meta(type):
            marks = 5
            def __new__(mcls, name, bases, space, **kw):
                space["made"] = name.lower()
                return super().__new__(mcls, name, bases, space)
            def __len__(cls): return 4
            @property
            def title(cls): return cls.__name__ + "!"
        class Plugin:
            known = []
            def __init_subclass__(cls, weight=1, **kw):
                super().__init_subclass__(**kw)
                cls.weight = weight * 10
                Plugin.known.append(cls)
        class Alpha(Plugin, weight=2):
            def go(self): return "alpha"
        class Beta(Plugin):
            def go(self): return "beta"
        class Item(metaclass=Meta):
            share = Percent()
            __slots__ = ("_share", "rest")
            def __class_getitem__(cls, key): return (cls.marks, key)
            def __getattr__(self, name): return name * 2
            def __getitem__(self, key): return key, 1
            def __contains__(self, key): return key == 3
            def __iter__(self): yield from (1, 2)
            def __len__(self): return 6
            def __bool__(self): return False
            def __call__(self, x): return x + 7
            def __add__(self, other): return "add", other
            def __radd__(self, other): return "radd", other
            def __eq__(self, other): return True
            def __hash__(self): return 8
            def __lt__(self, other): return True
            def __repr__(self): return "item"
            def __format__(self, spec): return "formatted " + spec
            def __enter__(self): return "in"
            def __exit__(self, *error): return True
            def __new__(cls, *args):
                made = super().__new__(cls)
                made.rest = "new"
                return made
            def __missing__(self, key): return 0
            def __reversed__(self): return [9]
            def __index__(self): return 2
            def __neg__(self): return "neg"
        class Default(dict):
            def __missing__(self, key): return key + "?"
        class Counting(list):
            def append(self, item): super().append(item * 2)

        @task
        def run(x):
            item = Item()
            item.share = x
            with item as entered:
                raise KeyError
            counting = Counting()
            counting.append(x)
            return (item.share, item.made, len(Item), Item.title, Item["k"], item.other, item[1], x in item, list(item), len(item),
                    bool(item), item(x), item + 1, 1 + item, item == 2, hash(item), item < 3, repr(item), f"{item:>s}", entered,
                    item.rest, reversed(item), [4, 5, 6][item], -item, [(k().go(), k.weight) for k in Plugin.known],
                    Default()["k"], counting)
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("__get__", "50) * 2", "50) * 3"),
                ("__set__", "value + 1", "value + 2"),
                ("metaclass __new__", "name.lower()", "name.upper()"),
                ("metaclass __len__", "return 4", "return 5"),
                ("metaclass property", '+ "!"', '+ "?"'),
                ("metaclass attribute", "marks = 5", "marks = 6"),
                ("metaclass removed and its attributes written out", "cls.weight = weight * 10", "cls.weight = weight * 11"),
                ("keyword of a class statement", "Alpha(Plugin, weight=2)", "Alpha(Plugin, weight=3)"),
                ("default of __init_subclass__", "weight=1", "weight=4"),
                ("method of a plugin", '"alpha"', '"ALPHA"'),
                ("plugin added", "class Item(", "class Gamma(Plugin):\n    def go(self): return 'gamma'\nclass Item("),
                ("plugins swapped", 'class Alpha(Plugin, weight=2):\n    def go(self): return "alpha"\nclass Beta(Plugin):\n    def go(self): return "beta"',
                 'class Beta(Plugin):\n    def go(self): return "beta"\nclass Alpha(Plugin, weight=2):\n    def go(self): return "alpha"'),
                ("__class_getitem__", "(cls.marks, key)", "(key, cls.marks)"),
                ("__getattr__", "name * 2", "name * 3"),
                ("__getitem__", "return key, 1", "return key, 2"),
                ("__contains__", "key == 3", "key != 3"),
                ("__iter__", "(1, 2)", "(1, 2, 3)"),
                ("__len__", "return 6", "return 7"),
                ("__bool__", "return False", "return True"),
                ("__call__", "x + 7", "x + 8"),
                ("__add__", '"add", other', '"plus", other'),
                ("__radd__", '"radd", other', '"rplus", other'),
                ("__eq__", "def __eq__(self, other): return True", "def __eq__(self, other): return None"),
                ("__hash__", "return 8", "return 9"),
                ("__lt__", "def __lt__(self, other): return True", "def __lt__(self, other): return None"),
                ("__repr__", 'return "item"', 'return "thing"'),
                ("__format__", '"formatted "', '"shown "'),
                ("__enter__", 'return "in"', 'return "inside"'),
                ("__new__", '"new"', '"newer"'),
                ("__reversed__", "[9]", "[10]"),
                ("__index__", "def __index__(self): return 2", "def __index__(self): return 1"),
                ("__neg__", '"neg"', '"minus"'),
                ("__missing__", 'key + "?"', 'key + "!"'),
                ("override of a builtin method", "item * 2", "item * 3"),
            ]
        ],
        (HITS, "comment", "class Plugin:", "class Plugin:  # of us"),
        (HITS, "docstring of a metaclass", "class Meta(type):", "class Meta(type):\n    'Meta.'"),
        (COARSE, "method that nobody calls", "def __missing__(self, key): return 0", "def __missing__(self, key): return 1"),
    ),
    project(
        "records",
        """
        from __future__ import annotations
        import collections, dataclasses, enum, typing
        from abc import ABC, abstractmethod
        from tasklineage import task

        def unit(): return "m"
        @dataclasses.dataclass
        class Config:
            size: int = 3
            names: list = dataclasses.field(default_factory=lambda: ["a"])
            kind: str = dataclasses.field(default="k", metadata={"unit": "m"}, repr=True)
            total: dataclasses.InitVar[int] = 4
            shared: typing.ClassVar[int] = 5
            def __post_init__(self, total): self.after = total * 2
        @dataclasses.dataclass(frozen=True, order=True)
        class Point:
            x: int
            y: int = 0
        class Color(enum.Enum):
            RED = 1
            CRIMSON = 1
            BLUE = enum.auto()
            @classmethod
            def _missing_(cls, value): return cls.RED
            @property
            def pretty(self): return self.name.title()
        class Flag(enum.Flag):
            A = enum.auto()
            B = enum.auto()
            AB = A | B
        class Word(str, enum.Enum):
            ONE = "one"
        Animal = enum.Enum("Animal", "CAT DOG")
        Pair = collections.namedtuple("Pair", "left right", defaults=[9])
        class Typed(typing.NamedTuple):
            a: int = 1
            def double(self): return self.a * 2
        class Movie(typing.TypedDict, total=False):
            title: str
        class Shape(ABC):
            @abstractmethod
            def area(self): ...
            def describe(self): return f"area {self.area()}"
        class Square(Shape):
            def area(self): return 16
        @typing.runtime_checkable
        class Sized(typing.Protocol):
            def area(self): ...
        UserId = typing.NewType("UserId", int)
        T = typing.TypeVar("T")
        class Stack(typing.Generic[T]):
            def push(self, item: T): return [item]
        ORIGIN = Point(1)

        @task
        def run(x):
            config = Config()
            return (repr(config), config.after, Config.shared, [f.metadata.get("unit") for f in dataclasses.fields(config)],
                    sorted([Point(2), Point(1, 3)]), ORIGIN, Color(7), list(Color), Color.BLUE.value, Color.RED.pretty, list(Flag),
                    Word.ONE + "!", list(Animal), Pair(1), Typed().double(), Movie(title="t"), Square().describe(),
                    isinstance(Square(), Sized), hasattr(ORIGIN, '__delattr__') and Point.__dataclass_params__.frozen, UserId(x), Stack().push(x))
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("default", "size: int = 3", "size: int = 4"),
                ("factory", 'lambda: ["a"]', 'lambda: ["b"]'),
                ("field default", 'default="k"', 'default="l"'),
                ("metadata", '"unit": "m"', '"unit": "km"'),
                ("field option", "repr=True", "repr=False"),
                ("init variable", "InitVar[int] = 4", "InitVar[int] = 6"),
                ("class variable", "ClassVar[int] = 5", "ClassVar[int] = 6"),
                ("__post_init__", "total * 2", "total * 3"),
                ("field added", "    shared:", "    more: int = 8\n    shared:"),
                ("fields swapped", '    size: int = 3\n    names: list = dataclasses.field(default_factory=lambda: ["a"])',
                 '    names: list = dataclasses.field(default_factory=lambda: ["a"])\n    size: int = 3'),
                ("options", "frozen=True, order=True", "order=True"),
                ("frozen field default", "y: int = 0", "y: int = 5"),
                ("instance in a global", "ORIGIN = Point(1)", "ORIGIN = Point(2)"),
                ("auto", "BLUE = enum.auto()", "GREEN = enum.auto()\n    BLUE = enum.auto()"),
                ("alias becomes a member", "CRIMSON = 1", "CRIMSON = 3"),
                ("_missing_", "return cls.RED", "return cls.BLUE"),
                ("property of an enumeration", "name.title()", "name.lower()"),
                ("flag", "AB = A | B", "AB = A | B\n    C = 8"),
                ("mixed-in enumeration", '"one"', '"uno"'),
                ("functional enumeration", '"CAT DOG"', '"DOG CAT"'),
                ("namedtuple fields", '"left right"', '"right left"'),
                ("namedtuple default", "defaults=[9]", "defaults=[8]"),
                ("typed tuple default", "a: int = 1", "a: int = 2"),
                ("typed tuple method", "self.a * 2", "self.a * 3"),
                ("abstract base", 'f"area {', 'f"Area {'),
                ("concrete method", "return 16", "return 25"),
                ("protocol", "class Sized(typing.Protocol):\n    def area", "class Sized(typing.Protocol):\n    def volume"),
                ("generic class", "return [item]", "return [item, item]"),
            ]
        ],
        (HITS, "comment", "class Color(enum.Enum):", "class Color(enum.Enum):  # of paint"),
        (HITS, "docstring of an enumeration", "class Color(enum.Enum):", "class Color(enum.Enum):\n    'Colors.'"),
        (HITS, "docstring of a dataclass", "class Config:", "class Config:\n    'Config.'"),
        (HITS, "function beside", 'return "m"', 'return "km"'),
        (HITS, "comment on a field", "size: int = 3", "size: int = 3  # in m"),
        (HITS, "values written otherwise", "shared: typing.ClassVar[int] = 5", "shared: typing.ClassVar[int] = 2 + 3"),
        (COARSE, "annotation of a field", "size: int = 3", "size: float = 3"),
        (HITS, "type variable renamed", 'T = typing.TypeVar("T")', 'S = typing.TypeVar("S")', "Generic[T]", "Generic[S]", "item: T", "item: S"),
        (HITS, "new type of another", 'NewType("UserId", int)', 'NewType("UserId", str)'),
        (HITS, "generated options that nobody uses are written out", "@dataclasses.dataclass\n", "@dataclasses.dataclass()\n"),
    ),
    project(
        "values of classes",
        """
        import functools, threading, weakref, logging
        class Model:
            scale = 2
            def __init__(self, weights): self.weights = weights
            def __call__(self, x): return [w * x * self.scale for w in self.weights]
        class Other:
            def go(self): return 1
        MODEL = Model([1, 2])
        MODELS = {"a": Model([3]), "b": [Model([4])]}
        call = MODEL.__call__
        lock, local, logger = threading.Lock(), threading.local(), logging.getLogger("x")
        class Service:
            def __init__(self, url): self.url, self.lock = url, threading.Lock()
            def ask(self): return self.url
        SERVICE = Service("a")
        class Lazy:
            @functools.cached_property
            def slow(self): return 8
        class Node:
            def __init__(self, n): self.n, self.next = n, None
        RING = Node(1)
        RING.next = Node(2)
        RING.next.next = RING
        def kind(): return Model
        CLASSES = [Model, Other]

        @task
        def run(x):
            with lock:
                logger.debug("x")
            return (MODEL(x), MODELS["a"](x), MODELS["b"][0](x), call(x), SERVICE.ask(), Lazy().slow, RING.next.n,
                    kind()([7])(x), CLASSES[1]().go())
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("class of an instance", "w * x * self.scale", "w + x * self.scale"),
                ("class attribute of an instance", "scale = 2", "scale = 3"),
                ("state of an instance", "Model([1, 2])", "Model([1, 3])"),
                ("state of an instance in a dict", "Model([3])", "Model([5])"),
                ("state of an instance in a list", "Model([4])", "Model([6])"),
                ("bound method of another instance", "call = MODEL.__call__", 'call = MODELS["a"].__call__'),
                ("instance with a lock", 'Service("a")', 'Service("b")'),
                ("class of an instance with a lock", "return self.url", "return self.url * 2"),
                ("cached property", "return 8", "return 9"),
                ("instance in a cycle", "Node(2)", "Node(3)"),
                ("class in a list", "return 1", "return 2"),
                ("order of classes in a list", "[Model, Other]", "[Other, type('New', (), {'go': lambda self: 5})]"),
                ("instance attribute set from outside", "call = MODEL", "MODEL.scale = 4\ncall = MODEL"),
            ]
        ],
        (HITS, "logger of another name", 'logging.getLogger("x")', 'logging.getLogger("y")'),
        (HITS, "level of a logger", "class Model:", "logging.getLogger('x').setLevel(30)\nclass Model:"),
        (HITS, "comment", "class Service:", "class Service:  # far away"),
        (HITS, "reordered", "MODELS = {", "UNUSED = 1\nMODELS = {"),
    ),
    project(
        "models of others",
        """
        import attrs, pydantic
        def check(v): return v + 1
        @attrs.define
        class Part:
            n: int = 3
            names: list = attrs.field(factory=lambda: ["a"], metadata={"unit": "m"})
            doubled: int = attrs.field(default=4, converter=lambda v: v * 2)
            def area(self): return self.n ** 2
        class Base(pydantic.BaseModel):
            size: int = 1
        class Settings(Base):
            model_config = pydantic.ConfigDict(frozen=True)
            name: str = "a"
            rate: float = pydantic.Field(default=0.5, ge=0)
            @pydantic.field_validator("rate", mode="after")
            @classmethod
            def _rate(cls, v): return check(v)
            @pydantic.computed_field
            @property
            def label(self) -> str: return self.name * 2
        SETTINGS = Settings(rate=2)

        @task
        def run(x):
            return repr(Part()), Part().area(), Settings(rate=x).model_dump(), SETTINGS.rate, attrs.fields(Part).names.metadata["unit"]
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("attrs default", "n: int = 3", "n: int = 4"),
                ("attrs factory", 'lambda: ["a"]', 'lambda: ["b"]'),
                ("attrs converter", "v * 2", "v * 3"),
                ("attrs metadata", '"m"', '"km"'),
                ("attrs method", "self.n ** 2", "self.n ** 3"),
                ("attrs options", "@attrs.define", "@attrs.define(repr=False, slots=False)\n@(lambda c: (setattr(c, '__repr__', lambda s: 'P'), c)[1])"),
                ("attrs field added", "    def area", "    more: int = 5\n    def area"),
                ("pydantic default", 'name: str = "a"', 'name: str = "b"'),
                ("pydantic default of a base", "size: int = 1", "size: int = 2"),
                ("helper of a validator", "return v + 1", "return v + 2"),
                ("validator", "return check(v)", "return check(v) * 2"),
                ("computed field", "self.name * 2", "self.name * 3"),
                ("instance of a model", "Settings(rate=2)", "Settings(rate=3)"),
                ("pydantic field added", '    name: str = "a"', '    name: str = "a"\n    more: int = 1'),
            ]
        ],
        (COARSE, "pydantic constraint", "ge=0", "ge=1"),
        (HITS, "comment", "class Base(", "# base\nclass Base("),
        (HITS, "docstring of a model", "class Base(pydantic.BaseModel):", "class Base(pydantic.BaseModel):\n    'Base.'"),
        (HITS, "docstring of an attrs class", "class Part:", "class Part:\n    'A part.'"),
    ),
]
