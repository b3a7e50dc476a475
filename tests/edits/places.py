"""Edits of tasks and modules in all places: containers, closures, conditions, packages."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "tasks in all places",
        """
        # main.py
        import dataclasses, functools, operator
        import tasklineage as tl
        from tasklineage import task
        import steps
        from steps import TABLE, Pipeline, build, default_step, register, REGISTRY
        import more
        @task
        def inner(x, scale=2): return x * scale
        @dataclasses.dataclass
        class Conf:
            step: object = steps.one
            steps: list = dataclasses.field(default_factory=lambda: [steps.two, inner])
        CONF = Conf()
        half = functools.partial(steps.three, by=4)
        def apply(f, x): return f(x)
        class Flow:
            stage = steps.four
            @task
            def go(self, x): return self.stage_of(x)
            def stage_of(self, x): return steps.five(x)
        later = steps.six.options(tags=("t",))
        bare = steps.seven.__wrapped__
        @task
        def run(x):
            return (TABLE["a"](x), Pipeline().run(x), build(3)(x), default_step(x), CONF.step(x), [s(x) for s in CONF.steps], half(x), apply(steps.eight, x),
                    Flow.stage(x), Flow().go(x), later(x), bare(x), list(tl.map(steps.nine, [x])), tl.gather(a=steps.ten.bind(x)), REGISTRY["m"](x),
                    getattr(steps, "eleven")(x), sorted([2, 1], key=steps.twelve), steps.thirteen.submit(x).result())
        # steps.py
        from tasklineage import task
        @task
        def one(x): return x + 1
        @task
        def two(x): return x + 2
        @task
        def three(x, by=1): return x + 3 * by
        @task
        def four(x): return x + 4
        @task
        def five(x): return x + 5
        @task
        def six(x): return x + 6
        @task
        def seven(x): return x + 7
        @task
        def eight(x): return x + 8
        @task
        def nine(x): return x + 9
        @task
        def ten(x): return x + 10
        @task
        def eleven(x): return x + 11
        @task
        def twelve(x): return x * -12
        @task
        def thirteen(x): return x + 13
        @task
        def unused(x): return x + 14
        @task
        def listed(x): return x + 15
        TABLE = {"a": listed}
        class Pipeline:
            def __init__(self): self.steps = [self.first]
            @staticmethod
            @task
            def first(x): return x + 16
            def run(self, x): return [s(x) for s in self.steps]
        def build(n):
            @task
            def made(x): return x + n + 17
            return made
        def default_step(x, step=build(18)): return step(x)
        REGISTRY = {}
        def register(name):
            def decorate(t):
                REGISTRY[name] = t
                return t
            return decorate
        # more.py
        from tasklineage import task
        from steps import register
        @register("m")
        @task
        def more(x): return x + 19
        """,
        (EXECUTES, "task 1", "return x + 1\n", "return x - 1\n"),
        (EXECUTES, "task 2", "return x + 2\n", "return x - 2\n"),
        (EXECUTES, "task 4", "return x + 4\n", "return x - 4\n"),
        (EXECUTES, "task 5", "return x + 5\n", "return x - 5\n"),
        (EXECUTES, "task 6", "return x + 6\n", "return x - 6\n"),
        (EXECUTES, "task 7", "return x + 7\n", "return x - 7\n"),
        (EXECUTES, "task 8", "return x + 8\n", "return x - 8\n"),
        (EXECUTES, "task 9", "return x + 9\n", "return x - 9\n"),
        (EXECUTES, "task 10", "return x + 10\n", "return x - 10\n"),
        (EXECUTES, "task 11", "return x + 11\n", "return x - 11\n"),
        (EXECUTES, "task 13", "return x + 13\n", "return x - 13\n"),
        (EXECUTES, "task 15", "return x + 15\n", "return x - 15\n"),
        (EXECUTES, "task 16", "return x + 16\n", "return x - 16\n"),
        (EXECUTES, "task 19", "return x + 19\n", "return x - 19\n"),
        (EXECUTES, "task 3", "x + 3 * by", "x - 3 * by"),
        (EXECUTES, "task 12", "x * -12", "x * 12"),
        (EXECUTES, "task 17", "x + n + 17", "x + n - 17"),
        (EXECUTES, "local task in a default", "build(18)", "build(20)"),
        (EXECUTES, "default of a task in a list", "scale=2", "scale=3"),
        (EXECUTES, "argument of a partial of a task", "by=4", "by=5"),
        (EXECUTES, "argument of a factory of tasks", "build(3)(x)", "build(4)(x)"),
        (EXECUTES, "order in a list", "[steps.two, inner]", "[inner, steps.two]"),
        (HITS, "unused task", "x + 14", "x - 14"),
        (HITS, "options", 'tags=("t",)', 'tags=("u",)'),
    ),
    project(
        "tasks as arguments in containers",
        """
        # main.py
        import dataclasses, functools
        from tasklineage import task
        from steps import a, b, c, Wrapped, Strategy, plain
        @task
        def run(fs, table, wrapped, strategy, part, deep):
            return [f(1) for f in fs], {k: f(2) for k, f in table.items()}, wrapped.call(3), strategy.f(4), part(5), deep["x"][0][1](6)
        def answer(): return run([a, b], {"k": c}, Wrapped(a), Strategy(plain), functools.partial(b, 7), {"x": [(0, plain)]})
        # steps.py
        import dataclasses
        from tasklineage import task
        @task
        def a(x): return x + 1
        @task
        def b(x, y=0): return x + 2 + y
        @task
        def c(x): return helper(x)
        def helper(x): return x + 3
        def plain(x): return x + 4
        class Wrapped:
            def __init__(self, f): self.f = f
            def call(self, x): return self.f(x), self.extra()
            def extra(self): return EXTRA
        EXTRA = 5
        @dataclasses.dataclass(frozen=True)
        class Strategy:
            f: object
        def other(x): return x
        """,
        (EXECUTES, "task in a list", "x + 1", "x + 10"),
        (EXECUTES, "another task in a list", "x + 2 + y", "x - 2 - y"),
        (EXECUTES, "helper of a task in a dict", "x + 3", "x + 30"),
        (EXECUTES, "function in a dataclass", "x + 4", "x + 40"),
        (EXECUTES, "global of a method", "EXTRA = 5", "EXTRA = 6"),
        (EXECUTES, "method", "self.f(x), self.extra()", "self.extra(), self.f(x)"),
        (EXECUTES, "argument of a partial", "functools.partial(b, 7)", "functools.partial(b, 8)"),
        (EXECUTES, "default of a task in a list", "y=0", "y=1"),
        (HITS, "other", "def other(x): return x", "def other(x): return -x"),
        (HITS, "comment", "def plain(x):", "# p\ndef plain(x):"),
        (HITS, "docstring of a task", "def a(x): return", "def a(x):\n    'A.'\n    return"),
    ),
    project(
        "tasks that call each other",
        """
        # main.py
        from tasklineage import task
        import odd
        @task
        def even(n): return True if n == 0 else odd.odd(n - 1)
        @task
        def fact(n): return 1 if n < 2 else n * 7 * fact(n - 1)
        @task
        def run(x): return even(x), fact(x), even(4)
        # odd.py
        from tasklineage import task
        import main
        LAST = False
        @task
        def odd(n): return LAST if n == 0 else main.even(n - 1)
        """,
        (EXECUTES, "far constant", "LAST = False", "LAST = None"),
        (EXECUTES, "recursion", "n * 7 * fact(n - 1)", "n + fact(n - 1)"),
        (EXECUTES, "near", "True if n == 0", "1 if n == 0"),
        (HITS, "comment", "LAST = False", "LAST = False  # zero"),
    ),
    project(
        "scopes",
        """
        def outer(a):
            total, seen = 0, []
            def add(b, /, *, by=DEFAULT):
                nonlocal total
                total += b * by
                seen.append(b)
                def show():
                    return [total, *[(s, (lambda q: q + total)(s)) for s in seen if (half := s / 2) > LOW]]
                return show
            return add
        DEFAULT = 2
        LOW = 0.2
        def gen(n):
            received = yield n
            while received is not None:
                received = yield received * FACTOR
            return "done"
        FACTOR = 3
        def drive(n):
            g = gen(n)
            out = [next(g), g.send(4)]
            try: g.send(None)
            except StopIteration as stop: out.append(stop.value)
            return out
        def delegated(n):
            result = yield from gen(n)
            yield result
        class Node:
            count = 0
            def __init__(self, v, *kids): self.v, self.kids = v, kids
            def walk(self):
                yield self.v
                for kid in self.kids: yield from kid.walk()
            def __iter__(self): return self.walk()
        def squares(n): return {k: v for k, v in zip(range(n), (i ** POWER for i in range(n)))}
        POWER = 2
        def classy(x):
            class Local:
                attr = x + 5
                def m(self): return [self.attr + i for i in range(SIZE)]
            return Local().m()
        SIZE = 2
        def starred(*a, k=[4], **kw): return sum(a), k, sorted(kw)
        def tried(x):
            try:
                return 1 // x
            except ZeroDivisionError as error:
                return type(error).__name__ + SUFFIX
            else: return 0
            finally: LOG.append(x)
        SUFFIX = "!"
        LOG = []
        def sliced(s): return s[START:][::-1]
        START = 1
        def matched(v):
            match v:
                case {"op": str(op), "args": [first, *rest]} if rest: return op, first, rest
                case [Node(v=n), *_]: return n
                case int() | float() as number if number > LIMIT: return "big"
                case (1, 2, 3): return "123"
                case None: return "none"
                case str(): return "text"
        LIMIT = 10
        @task
        def run(x):
            add = outer(x)
            show = add(1)
            show = add(3, by=5)
            f = [lambda y, i=i: y + i for i in range(2)]
            return (show(), drive(x), [*delegated(1)][:1], list(Node(1, Node(2), Node(3))), squares(x), classy(x), starred(1, 2, z=1), tried(0), sliced("abc"),
                    matched({"op": "a", "args": [1, 2]}), matched([Node(8)]), matched(11), matched((1, 2, 3)), matched(None), matched("s"), [g(1) for g in f])
        """,
        (EXECUTES, "default of an inner function", "DEFAULT = 2", "DEFAULT = 4"),
        (EXECUTES, "walrus in a comprehension", "LOW = 0.2", "LOW = 1.2"),
        (EXECUTES, "nonlocal", "total += b * by", "total -= b * by"),
        (EXECUTES, "lambda in a comprehension", "q + total", "q - total"),
        (EXECUTES, "sent", "received * FACTOR", "received + FACTOR"),
        (EXECUTES, "returned by a generator", '"done"', '"over"'),
        (EXECUTES, "global of a generator", "FACTOR = 3", "FACTOR = 4"),
        (EXECUTES, "recursive generator", "yield self.v\n", "yield -self.v\n"),
        (EXECUTES, "generator expression", "POWER = 2", "POWER = 3"),
        (EXECUTES, "local class", "attr = x + 5", "attr = x + 6"),
        (EXECUTES, "global of a local class", "SIZE = 2", "SIZE = 3"),
        (EXECUTES, "keyword default", "k=[4]", "k=[5]"),
        (EXECUTES, "suffix", 'SUFFIX = "!"', 'SUFFIX = "?"'),
        (EXECUTES, "slice", "START = 1", "START = 2"),
        (EXECUTES, "mapping pattern", '"args": [first, *rest]', '"args": [*rest, first]'),
        (EXECUTES, "class pattern", "Node(v=n)", "Node(kids=n)"),
        (EXECUTES, "guard", "LIMIT = 10", "LIMIT = 12"),
        (EXECUTES, "sequence pattern", 'return "123"', 'return "321"'),
        (EXECUTES, "none", 'return "none"', 'return "nil"'),
        (EXECUTES, "type", 'return "text"', 'return "str"'),
        (EXECUTES, "reversed", "[::-1]", "[::1]"),
        (EXECUTES, "closure in a list", "y + i for", "y - i for"),
        (EXECUTES, "call", "by=5", "by=6"),
        (EXECUTES, "order of patterns", 'case None: return "none"', 'case "s": return "S"\n        case None: return "none"'),
        (HITS, "log that is only written", "LOG = []", "LOG = [1]"),
        (HITS, "unread class attribute", "count = 0", "count = 0  # none"),
        (HITS, "local renamed", "half := s / 2", "part := s / 2"),
        (HITS, "comment", "LIMIT = 10", "LIMIT = 10  # ten"),
        (HITS, "blank", "POWER = 2", "\nPOWER = 2"),
        (HITS, "bound name of an exception", "as error:", "as err:", "type(error)", "type(err)"),
        (HITS, "name in a pattern", "case [Node(v=n), *_]: return n", "case [Node(v=value), *_]: return value"),
        (COARSE, "order of equal statements", "total, seen = 0, []", "seen, total = [], 0"),
    ),
    project(
        "conditional code at import",
        """
        # main.py
        import sys, os, platform, typing
        from tasklineage import task
        from compat import loads, zipped, HAS_FAST, Number, cached, fallback
        if typing.TYPE_CHECKING:
            from heavy import Thing
            UNUSED: "Thing"
        if sys.version_info >= (3, 8):
            from modern import go
        else:
            from legacy import go
        for _n in ("a", "b"):
            globals()["f_" + _n] = __import__("modern", fromlist=["x"]).__dict__[_n]
        try:
            from optional_thing import extra
        except ModuleNotFoundError:
            extra = None
        DEBUG = os.environ.get("E4_NOT_SET") == "1"
        if DEBUG:
            def level(): return 1
        else:
            def level(): return 2
        def typed(x: "Thing") -> "typing.Optional[Thing]": return x
        @task
        def run(x): return loads("[1]"), zipped([1], [2]), HAS_FAST, go(x), f_a(x), f_b(x), extra and extra(x), level(), typed(x), isinstance(x, Number), cached(x), fallback(x)
        # compat.py
        try:
            import orjson_absent as json
            HAS_FAST = True
        except ImportError:
            import json
            HAS_FAST = False
        loads = json.loads
        try:
            from itertools import izip as zipped
        except ImportError:
            def zipped(*a): return list(zip(*a))
        Number = (int, float)
        if hasattr(__builtins__, "nothing") or True:
            import functools
            cached = functools.lru_cache(maxsize=None)(lambda v: v + 5)
        try:
            fallback
        except NameError:
            fallback = lambda v: v + 6
        # modern.py
        def go(x): return x + 1
        def a(x): return x + 2
        def b(x): return x + 3
        def c(x): return x + 4
        # legacy.py
        def go(x): return x - 1
        # heavy.py
        class Thing: pass
        """,
        (EXECUTES, "modern", "x + 1\n", "x + 10\n"),
        (EXECUTES, "by fromlist", "x + 2\n", "x + 20\n"),
        (EXECUTES, "by fromlist, too", "x + 3\n", "x + 30\n"),
        (EXECUTES, "fallback function", "list(zip(*a))", "tuple(zip(*a))"),
        (EXECUTES, "flag", "HAS_FAST = False", "HAS_FAST = None"),
        (EXECUTES, "tuple of types", "(int, float)", "(str, float)"),
        (EXECUTES, "branch taken", "return 2\n", "return 20\n"),
        (EXECUTES, "cached lambda", "v + 5", "v + 50"),
        (EXECUTES, "fallback lambda", "v + 6", "v + 60"),
        (EXECUTES, "optional module appears", {"optional_thing.py": "def extra(x): return x + 70\n"}),
        (HITS, "flag of the other branch", "HAS_FAST = True", "HAS_FAST = 1"),
        (HITS, "legacy", "return x - 1", "return x - 10"),
        (HITS, "heavy", "class Thing: pass", "class Thing: x = 1"),
        (HITS, "branch not taken", "def level(): return 1", "def level(): return 10"),
        (HITS, "not listed", "x + 4\n", "x + 40\n"),
        (HITS, "import under TYPE_CHECKING", "from heavy import Thing", "from heavy import Thing, Other"),
        (HITS, "version test", "sys.version_info >= (3, 8)", "sys.version_info >= (3, 9)"),
        (HITS, "annotations in text", '"typing.Optional[Thing]"', '"Thing | None"'),
        (HITS, "legacy module removed", {"legacy.py": None}),
        (HITS, "another absent module", "orjson_absent", "ujson_absent"),
    ),
    project(
        "re-exports over levels",
        """
        # main.py
        from tasklineage import task
        from pack import *
        import pack as p
        from pack import sub as s
        @task
        def run(x): return alpha(x), p.beta(x), s.gamma(x), p.sub.deep.delta(x), Klass.make(x), p.CONST, p.lazy(x), s.aliased(x)
        # pack/__init__.py
        from .one import *
        from .one import _beta as beta
        from . import sub
        from .sub import Klass, CONST, gamma
        from .sub.deep import lazy_impl
        __all__ = ["alpha", "Klass"] + sub.__all__
        def __getattr__(name):
            if name == "lazy": return lazy_impl
            raise AttributeError(name)
        UNREAD = 1
        # pack/one.py
        __all__ = ["alpha"]
        from .sub.deep import base
        def alpha(x): return base(x) + 1
        def _beta(x): return x + 2
        def omega(x): return x
        # pack/sub/__init__.py
        from .deep import delta as gamma
        from . import deep
        from .deep import *
        from .klass import Klass
        aliased = deep.zeta
        CONST = deep.BASE + 5
        __all__ = ["gamma"]
        # pack/sub/deep.py
        BASE = 10
        _HIDDEN = 11
        def base(x): return x + BASE
        def delta(x): return x + 3
        def lazy_impl(x): return x + 4
        def zeta(x): return x + 6
        def unused(x): return x
        # pack/sub/klass.py
        class Klass:
            @classmethod
            def make(cls, x): return cls.__name__, x + 7
        """,
        (EXECUTES, "star", "base(x) + 1", "base(x) + 10"),
        (EXECUTES, "private name", "x + 2\n", "x + 20\n"),
        (EXECUTES, "twice re-exported", "x + 3\n", "x + 30\n"),
        (EXECUTES, "lazy", "x + 4\n", "x + 40\n"),
        (EXECUTES, "constant of a constant", "deep.BASE + 5", "deep.BASE + 50"),
        (EXECUTES, "base constant", "BASE = 10", "BASE = 100"),
        (EXECUTES, "aliased", "x + 6\n", "x + 60\n"),
        (EXECUTES, "class", "x + 7", "x + 70"),
        (EXECUTES, "redirected", "from .deep import delta as gamma", "from .deep import zeta as gamma"),
        (HITS, "unused", "def unused(x): return x", "def unused(x): return -x"),
        (HITS, "omega", "def omega(x): return x", "def omega(x): return -x"),
        (HITS, "unread", "UNREAD = 1", "UNREAD = 2"),
        (HITS, "hidden", "_HIDDEN = 11", "_HIDDEN = 12"),
        (HITS, "__all__ longer", '["gamma"]', '["gamma", "CONST"]'),
        (HITS, "imports reordered", "from . import deep\nfrom .deep import *", "from .deep import *\nfrom . import deep"),
        (HITS, "another lazy name", 'if name == "lazy": return lazy_impl', 'if name == "lazy": return lazy_impl\n    if name == "lazier": return 3'),
        (HITS, "module split", "def zeta(x): return x + 6\n", "from .zed import zeta\n", {"pack/sub/zed.py": "def zeta(x):\n    return x + 6\n"}),
    ),
]
