"""Edits of tasks: what they call, what calls them, their options, arguments that carry code."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "tasks that call tasks",
        """
        # main.py
        from tasklineage import task
        import steps
        from steps import load, clean as tidy
        RATE = 2
        @task
        def report(rows, title="t"): return title, sum(rows)
        short = report.options(tags=("a",))
        STEPS = {"scale": steps.scale}
        def chosen(): return steps.shift
        @task
        def unused(x): return x
        @task
        def run(x):
            rows = tidy(load(x))
            rows = [STEPS["scale"](r, RATE) for r in rows]
            return report(rows), short(rows, title="s"), chosen()(x)
        # steps.py
        from tasklineage import task
        OFFSET = 1
        @task
        def load(n): return list(range(n))
        @task
        def clean(rows):
            '''Clean.'''
            return [r for r in rows if keep(r)]
        def keep(r): return r > 0
        @task(tags=("x",), retries=1)
        def scale(r, by): return r * by
        @task
        def shift(x): return x + OFFSET
        @task
        def other(x): return x - OFFSET
        """,
        (EXECUTES, "child", "list(range(n))", "list(range(n + 1))"),
        (EXECUTES, "child under another name", "[r for r in rows if keep(r)]", "[-r for r in rows if keep(r)]"),
        (EXECUTES, "helper of a child", "r > 0", "r > 1"),
        (EXECUTES, "child in a dict", "r * by", "r + by"),
        (EXECUTES, "child given by a function", "x + OFFSET", "x * OFFSET + 9"),
        (EXECUTES, "constant of a child", "OFFSET = 1", "OFFSET = 2"),
        (EXECUTES, "default of a child", 'title="t"', 'title="u"'),
        (EXECUTES, "child with other options", "return title, sum(rows)", "return title, max(rows)"),
        (EXECUTES, "argument of a child", "RATE = 2", "RATE = 3"),
        (HITS, "options of a child", 'tags=("x",), retries=1', 'tags=("y",), retries=3'),
        (HITS, "options of the parent", "@task\ndef run", "@task(tags=('z',), ttl=3600)\ndef run"),
        (HITS, "options given later", 'tags=("a",)', 'tags=("b",)'),
        (HITS, "comment in a child", "def keep(r): return", "def keep(r):\n    # positive\n    return"),
        (HITS, "docstring of a child", "'''Clean.'''", "'''Tidy.'''"),
        (HITS, "unused task", "def unused(x): return x", "def unused(x): return -x"),
        (HITS, "unused task of the module", "x - OFFSET", "x - OFFSET - 1"),
        (HITS, "child moved to another module", "@task\ndef load(n): return list(range(n))\n", "from loading import load\n",
         {"loading.py": "from tasklineage import task\n@task\ndef load(n):\n    return list(range(n))\n"}),
        (HITS, "name of a child", "def load(n)", "def _load(n)", "@task\ndef clean", "load = _load\n@task\ndef clean"),
        (COARSE, "task becomes a function", "@task\ndef load", "def load"),
    ),
    project(
        "versions and keys",
        """
        def digits(x): return x % 10
        def other(x): return x
        @task(version="1")
        def fixed(x): return x + 1
        @task(key={"x": digits})
        def keyed(x): return x % 10
        @task(ignore=("verbose",))
        def quiet(x, verbose=False): return x * 2
        @task(key={"x": lambda v: v["a"]})
        def part(x): return x["a"]
        @task
        def run(x):
            return fixed(x), keyed(x), quiet(x), quiet(x, verbose=True), part({"a": x, "b": 1})
        def answer(): return run(3)
        """,
        (EXECUTES, "version", 'version="1"', 'version="2"', "return x + 1", "return x + 5"),
        (COARSE, "version alone", 'version="1"', 'version="2"'),
        (COARSE, "key function", "def digits(x): return x % 10", "def digits(x): return x % 100"),
        (COARSE, "key lambda", 'lambda v: v["a"]', 'lambda v: (v["a"], 1)'),
        (EXECUTES, "body of a keyed task", "def keyed(x): return x % 10", "def keyed(x): return x % 2"),
        (EXECUTES, "body of a task that ignores", "return x * 2", "return x * 3"),
        (HITS, "comment in a key function", "def digits(x): return", "def digits(x):  # the last\n    return"),
        (HITS, "function beside the key function", "def other(x): return x", "def other(x): return 0"),
    ),
    project(
        "a version that stands for the code",
        """
        def helper(x): return 7
        @task(version="1")
        def run(x): return (helper(x), 1)[1]
        """,
        (HITS, "body", "(helper(x), 1)[1]", "1"),
        (HITS, "helper", "return 7", "return 8"),
        (COARSE, "version", 'version="1"', 'version="2"'),
    ),
    project(
        "ignored arguments",
        """
        WORKERS = 4
        @task(ignore=("workers",))
        def run(x, workers=1): return x + 1
        def answer(): return run(3, workers=WORKERS)
        """,
        (HITS, "ignored argument", "WORKERS = 4", "WORKERS = 8"),
        (HITS, "default of an ignored parameter", "workers=1", "workers=2"),
        (EXECUTES, "body", "x + 1", "x + 2"),
    ),
    project(
        "the same arguments",
        """
        @task
        def run(x, y=2, *rest, z=3, **more): return x, y, rest, z, sorted(more.items())
        def answer(): return run(1)
        """,
        (HITS, "by keyword", "run(1)", "run(x=1)"),
        (HITS, "default passed", "run(1)", "run(1, 2)"),
        (HITS, "default passed by keyword", "run(1)", "run(1, z=3, y=2)"),
        (EXECUTES, "other argument", "run(1)", "run(2)"),
        (EXECUTES, "other type", "run(1)", "run(1.0)"),
        (EXECUTES, "True for 1", "run(1)", "run(True)"),
        (EXECUTES, "default edited", "y=2", "y=5"),
        (EXECUTES, "keyword default edited", "z=3", "z=5"),
        (HITS, "default edited and the old one passed", "y=2", "y=5", "run(1)", "run(1, 2)"),
        (EXECUTES, "more positional", "run(1)", "run(1, 2, 9)"),
        (EXECUTES, "more keywords", "run(1)", "run(1, a=1)"),
        (HITS, "annotations", "def run(x, y=2", "def run(x: int, y: int = 2"),
        (COARSE, "parameter renamed", "def run(x, y=2, *rest, z=3, **more): return x, y", "def run(a, y=2, *rest, z=3, **more): return a, y"),
    ),
    project(
        "order of keyword arguments",
        """
        @task
        def run(**values): return sorted(values.items())
        def answer(): return run(a=1, b=2)
        """,
        (COARSE, "keywords swapped", "run(a=1, b=2)", "run(b=2, a=1)"),
        (EXECUTES, "another value", "b=2", "b=3"),
    ),
    project(
        "arguments that carry code",
        """
        import dataclasses, functools
        SCALE = 2
        def twice(v): return v * SCALE
        def thrice(v): return v * 3
        @dataclasses.dataclass
        class Config:
            n: int = 1
            def total(self): return self.n + 10
            def unused(self): return 0
        class Strategy:
            def __init__(self, f): self.f = f
            def apply(self, v): return self.f(v) + 1
        @task
        def child(v): return v + 20
        class Unrelated:
            def go(self): return 1
        @task
        def run(function, config, strategy, job, items, bound, part, kind):
            return function(1), config.total(), strategy.apply(2), job(3), [f(4) for f in items], bound(), part(5), kind().total()
        def answer():
            return run(twice, Config(2), Strategy(lambda v: v - 1), child, [twice, abs], Config(5).total,
                       functools.partial(pow, 2), Config)
        """,
        (EXECUTES, "function", "v * SCALE", "v + SCALE"),
        (EXECUTES, "global of a function", "SCALE = 2", "SCALE = 4"),
        (EXECUTES, "method of an instance", "self.n + 10", "self.n + 11"),
        (EXECUTES, "default of an instance", "n: int = 1", "n: int = 6"),
        (EXECUTES, "lambda in an instance", "v - 1", "v - 2"),
        (EXECUTES, "class of a strategy", "self.f(v) + 1", "self.f(v) + 2"),
        (EXECUTES, "task", "v + 20", "v + 21"),
        (EXECUTES, "another function", "run(twice,", "run(thrice,"),
        (EXECUTES, "function in a list", "[twice, abs]", "[thrice, abs]"),
        (EXECUTES, "instance behind a bound method", "Config(5).total", "Config(6).total"),
        (EXECUTES, "partial", "functools.partial(pow, 2)", "functools.partial(pow, 3)"),
        (HITS, "unused function", "return v * 3", "return v * 4"),
        (HITS, "unrelated class", "return 1", "return 2"),
        (HITS, "comment in the class", "def unused(self): return 0", "# nothing\n    def unused(self): return 0"),
        (HITS, "docstring of a function", "def twice(v): return", "def twice(v):\n    'Twice.'\n    return"),
        (COARSE, "method that nobody calls", "def unused(self): return 0", "def unused(self): return 1"),
    ),
    project(
        "methods as tasks",
        """
        class Base:
            rate = 2
            def __init__(self, n): self.n = n
            @task
            def inherited(self, x): return self.helper(x) * self.rate
            def helper(self, x): return x + 1
        class Model(Base):
            @task
            def fit(self, x): return self.n + x
            @staticmethod
            @task
            def plain(x): return x + 30
            @classmethod
            @task
            def made(cls, x): return cls(x).n + 40
            def helper(self, x): return x + 2
        class Other:
            @task
            def fit(self, x): return -x
        def answer():
            m = Model(5)
            return m.fit(1), m.inherited(2), Model.plain(3), Model.made(4)
        """,
        (EXECUTES, "method", "self.n + x", "self.n - x"),
        (EXECUTES, "inherited method", "self.helper(x) * self.rate", "self.helper(x) + self.rate"),
        (EXECUTES, "override that an inherited task calls", "x + 2", "x + 20"),
        (EXECUTES, "class attribute", "rate = 2", "rate = 3"),
        (EXECUTES, "static method", "x + 30", "x + 31"),
        (EXECUTES, "class method", "cls(x).n + 40", "cls(x).n + 41"),
        (EXECUTES, "instance", "Model(5)", "Model(6)"),
        (EXECUTES, "__init__", "self.n = n", "self.n = n * 2"),
        (HITS, "another class", "return -x", "return x"),
        (HITS, "comment", "class Model(Base):", "class Model(Base):  # ours"),
        (HITS, "docstring", "class Model(Base):", "class Model(Base):\n    'Ours.'"),
        (COARSE, "overridden method that nobody calls", "x + 1", "x + 10"),
    ),
    project(
        "combinators",
        """
        import tasklineage as tl
        @task
        def square(x): return x * x
        @task
        def total(xs, start=0): return sum(xs, start)
        def offset(x): return x + 1
        @task
        def inner(x): return offset(x)
        @task
        def unused(x): return x
        @task
        def run(n):
            squares = list(tl.map(square, range(n)))
            a, b = tl.gather(square.bind(4), inner.bind(5))
            best = tl.join(total, [square.bind(6), inner.bind(7)])
            return squares, a, b, best, square.submit(8).result()
        """,
        (EXECUTES, "mapped task", "x * x", "x * x + 1"),
        (EXECUTES, "gathered task's helper", "x + 1", "x + 2"),
        (EXECUTES, "joined task", "sum(xs, start)", "max(xs)"),
        (EXECUTES, "default of a joined task", "start=0", "start=1"),
        (EXECUTES, "branches", "square.bind(4), inner.bind(5)", "square.bind(5), inner.bind(4)"),
        (HITS, "unused task", "def unused(x): return x", "def unused(x): return 1"),
        (HITS, "comment", "def offset(x): return", "def offset(x):  # one\n    return"),
    ),
    project(
        "decorated tasks",
        """
        import functools
        def twice(function):
            @functools.wraps(function)
            def wrapper(*args): return function(*args) * 2
            return wrapper
        def outer(function):
            @functools.wraps(function)
            def wrapper(*args): return "outer", function(*args)
            return wrapper
        @outer
        @task
        @twice
        def run(x): return x + 1
        """,
        (EXECUTES, "below the task", "function(*args) * 2", "function(*args) * 3"),
        (EXECUTES, "wrapped", "x + 1", "x + 2"),
        (EXECUTES, "removed below", "@twice\n", ""),
        (HITS, "comment", "def outer(function):", "def outer(function):  # above"),
    ),
    project(
        "tracked extras",
        """
        LEVEL = 1
        def extra(): return LEVEL
        def beside(): return 2
        @task(track=(extra,))
        def run(x): return x
        """,
        (COARSE, "tracked function", "return LEVEL", "return -LEVEL"),
        (COARSE, "global of a tracked function", "LEVEL = 1", "LEVEL = 2"),
        (HITS, "function beside", "return 2", "return 3"),
        (HITS, "comment in a tracked function", "def extra(): return", "def extra():  # more\n    return"),
        (COARSE, "tracked no more", "track=(extra,)", "track=()"),
    ),
]
