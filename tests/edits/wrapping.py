"""Edits of decorators with arguments, caches on methods, functions that are given to libraries."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "decorators with arguments from elsewhere",
        """
        # main.py
        from tasklineage import task
        import settings
        from deco import retry, tagged, unwrapped, deprecated, Counted, bound, swap
        from deco import chain as linked
        @retry(times=settings.TIMES, on=(ValueError,))
        def a(x): return x + 1
        @tagged("blue", weight=settings.WEIGHTS["a"])
        def b(x): return x + 2
        @deprecated("old")
        @retry(times=1)
        @tagged("red")
        def c(x): return x + 3
        plain = unwrapped(c)
        @Counted(step=5)
        def d(x): return x + 4
        class K:
            @bound
            def m(self, x): return x + 5
            @property
            @bound
            def p(self): return 6
        @swap(lambda x: x + 70)
        def e(x): return x + 7
        @linked(lambda f: lambda x: f(x) + 8, lambda f: lambda x: f(x) * 2)
        def g(x): return x + 9
        @task
        def run(x): return a(x), b(x), b.tag, b.weight, plain(x), d(x), K().m(x), K().p, e(x), g(x)
        # deco.py
        import functools, inspect, warnings
        def retry(times=1, on=(Exception,)):
            def decorate(f):
                @functools.wraps(f)
                def wrapper(*a, **k):
                    for n in range(times):
                        try: return n, f(*a, **k), times
                        except on: pass
                return wrapper
            return decorate
        def tagged(tag, weight=0):
            def decorate(f):
                f.tag, f.weight = tag, weight
                return f
            return decorate
        def deprecated(message):
            def decorate(f):
                @functools.wraps(f)
                def wrapper(*a):
                    warnings.warn(message)
                    return "deprecated", f(*a)
                return wrapper
            return decorate
        def unwrapped(f): return inspect.unwrap(f)
        class Counted:
            def __init__(self, step): self.step = step
            def __call__(self, f):
                @functools.wraps(f)
                def wrapper(*a): return self.shown(f(*a))
                return wrapper
            def shown(self, v): return v, self.step
        class bound:
            def __init__(self, f):
                functools.update_wrapper(self, f)
                self.f = f
            def __get__(self, obj, kind=None): return functools.partial(self, obj)
            def __call__(self, *a): return "bound", self.f(*a)
        def swap(other): return lambda f: other
        def chain(*decorators):
            def decorate(f):
                for one in reversed(decorators): f = one(f)
                return f
            return decorate
        # settings.py
        TIMES = 2
        WEIGHTS = {"a": 1, "b": 2}
        """,
        (EXECUTES, "argument from a config module", "TIMES = 2", "TIMES = 3"),
        (EXECUTES, "argument from a dict of a config module", '"a": 1', '"a": 11'),
        (HITS, "another entry of that dict, used at decoration only", '"b": 2', '"b": 22'),
        (EXECUTES, "function set as attribute", 'tagged("blue"', 'tagged("green"'),
        (HITS, "message of a wrapper that was unwrapped", 'deprecated("old")', 'deprecated("older")'),
        (HITS, "wrapper that was unwrapped", 'return "deprecated", f(*a)', 'return "outdated", f(*a)'),
        (EXECUTES, "unwrapped function", "x + 3", "x + 33"),
        (EXECUTES, "argument of a class decorator", "step=5", "step=6"),
        (EXECUTES, "method of a class decorator", "return v, self.step", "return self.step, v"),
        (EXECUTES, "descriptor decorator", 'return "bound", self.f(*a)', 'return "BOUND", self.f(*a)'),
        (EXECUTES, "method below a descriptor decorator", "x + 5", "x + 55"),
        (EXECUTES, "property below a descriptor decorator", "return 6", "return 66"),
        (EXECUTES, "swapped in", "x + 70", "x + 71"),
        (HITS, "swapped out", "return x + 7\n", "return x + 7000\n"),
        (EXECUTES, "chained decorators in another order", "linked(lambda f: lambda x: f(x) + 8, lambda f: lambda x: f(x) * 2)", "linked(lambda f: lambda x: f(x) * 2, lambda f: lambda x: f(x) + 8)"),
        (EXECUTES, "one of chained decorators", "f(x) + 8", "f(x) + 80"),
        (EXECUTES, "order in which they are applied", "for one in reversed(decorators)", "for one in decorators"),
        (HITS, "comment in a decorator factory", "def tagged(tag, weight=0):", "def tagged(tag, weight=0):  # marks"),
        (HITS, "decorator factory that does its work at import", "f.tag, f.weight = tag, weight", "f.weight, f.tag = weight, tag"),
        (HITS, "types of a decorator", "def retry(times=1, on=(Exception,)):", "def retry(times: int = 1, on: tuple = (Exception,)):"),
    ),
    project(
        "caches on methods",
        """
        import functools
        RATE = 2
        class Model:
            def __init__(self, n): self.n = n
            def __hash__(self): return hash(self.n)
            def __eq__(self, other): return self.n == other.n
            @functools.cache
            def slow(self, x): return self.inner(x) + RATE
            @functools.lru_cache(maxsize=3)
            def other(self): return self.n + 1
            @functools.cached_property
            def table(self): return {"a": self.n * 10}
            @classmethod
            @functools.cache
            def made(cls, n): return cls(n + 5)
            @staticmethod
            @functools.lru_cache
            def pure(x): return x + 6
            def inner(self, x): return x * self.n
            by = functools.partialmethod(inner, 4)
            @functools.singledispatchmethod
            def show(self, v): return "any"
            @show.register
            def _(self, v: int): return f"int {v}"
            @show.register
            def _list(self, v: list): return f"list {len(v)}"
        @functools.cache
        def load(n): return Model(n)
        SHARED = load(3)
        @task
        def run(x): return SHARED.slow(x), SHARED.other(), SHARED.table, Model.made(1).n, Model.pure(x), SHARED.by(), SHARED.show(x), SHARED.show([1])
        def answer(): return run(3)
        """,
        (EXECUTES, "cached method", "self.inner(x) + RATE", "self.inner(x) - RATE"),
        (EXECUTES, "global of a cached method", "RATE = 2", "RATE = 3"),
        (EXECUTES, "helper method", "x * self.n", "x + self.n"),
        (EXECUTES, "limited cache", "self.n + 1", "self.n + 2"),
        (EXECUTES, "cached property", '"a": self.n * 10', '"a": self.n * 20'),
        (EXECUTES, "cached class method", "cls(n + 5)", "cls(n + 6)"),
        (EXECUTES, "cached static method", "x + 6", "x + 7"),
        (EXECUTES, "argument of a partialmethod", "partialmethod(inner, 4)", "partialmethod(inner, 5)"),
        (EXECUTES, "singledispatchmethod", 'f"int {v}"', 'f"INT {v}"'),
        (EXECUTES, "type of singledispatchmethod", "v: list", "v: tuple"),
        (EXECUTES, "shared instance", "load(3)", "load(4)"),
        (EXECUTES, "hash of an instance", "return hash(self.n)", "return hash(self.n)\n    rate = 3\n    def other(self): return 0", "def other(self): return self.n + 1", "def another(self): return self.n + 1"),
        (HITS, "size of a cache of a method", "maxsize=3", "maxsize=30"),
        (HITS, "comment", "def inner(self, x): return", "def inner(self, x):  # product\n        return"),
        (COARSE, "dispatched default not used", '"any"', '"ANY"'),
    ),
    project(
        "functions given to libraries",
        """
        # main.py
        from tasklineage import task
        import concurrent.futures, contextlib, functools, io, itertools, json, re, threading, collections, heapq, bisect, sched, queue
        import numpy as np, pandas as pd
        def sub(m): return m.group().upper() + "1"
        def default(o): return {"set": sorted(o)}
        def hook(d): return {k: v for k, v in d.items() if k != "drop"}
        def keyed(v): return -v
        def merged(a, b): return a * 10 + b
        def make(): return [1]
        def worker(q): q.put(21)
        def cell(v): return v + 0.5
        def row(r): return r.a + 31
        def agg(s): return s.sum() + 41
        def vec(v): return v + 51
        def until(): return next(NUMBERS())
        def NUMBERS(): return iter([7])
        def grouped(v): return v % 2
        def close(): RESULT.append(1)
        RESULT = []
        @contextlib.contextmanager
        def managed(): yield 61
        def unused(v): return v
        @task
        def run(x):
            d = collections.defaultdict(make)
            d["k"].append(x)
            q = queue.Queue()
            t = threading.Thread(target=worker, args=(q,))
            t.start(); t.join()
            frame = pd.DataFrame({"a": [1, 2], "g": [1, 1]})
            with concurrent.futures.ThreadPoolExecutor(1) as pool, managed() as m:
                jobs = list(pool.map(cell, [1]))
            return (re.sub("a", sub, "bab"), json.dumps({1, 2}, default=default), json.loads('{"a": 1, "drop": 2}', object_hook=hook), sorted([1, 2], key=keyed),
                    functools.reduce(merged, [1, 2]), dict(d), q.get(), jobs, frame.apply(row, axis=1).tolist(), frame.groupby("g").a.agg(agg).tolist(),
                    np.vectorize(vec)([1]).tolist(), m, next(iter(until, None)), [k for k, _ in itertools.groupby([1, 3, 2], key=grouped)], heapq.nsmallest(1, [1, 5], key=keyed))
        """,
        (EXECUTES, "re.sub", '+ "1"', '+ "2"'),
        (EXECUTES, "json default", '"set"', '"SET"'),
        (EXECUTES, "object hook", 'if k != "drop"', 'if k != "a"'),
        (EXECUTES, "sort key", "return -v", "return v"),
        (EXECUTES, "reduce", "a * 10 + b", "a * 100 + b"),
        (EXECUTES, "default factory", "def make(): return [1]", "def make(): return [2]"),
        (EXECUTES, "thread", "q.put(21)", "q.put(22)"),
        (EXECUTES, "pool", "v + 0.5", "v + 1.5"),
        (EXECUTES, "apply", "r.a + 31", "r.a + 32"),
        (EXECUTES, "aggregate", "s.sum() + 41", "s.sum() + 42"),
        (EXECUTES, "vectorize", "v + 51", "v + 52"),
        (EXECUTES, "with", "yield 61", "yield 62"),
        (EXECUTES, "iter", "iter([7])", "iter([8])"),
        (EXECUTES, "groupby", "v % 2", "v % 3"),
        (HITS, "function that nobody calls", "def close(): RESULT.append(1)", "def close(): RESULT.append(2)"),
        (HITS, "unused", "def unused(v): return v", "def unused(v): return -v"),
    ),
    project(
        "subclasses of library classes",
        """
        # main.py
        from tasklineage import task
        import ast, json, string, collections, html.parser, argparse, logging, threading, datetime, pathlib, configparser, enum, random, csv, decimal
        class Enc(json.JSONEncoder):
            def default(self, o): return ["enc", str(o)]
        class Vis(ast.NodeVisitor):
            def __init__(self): self.n = 0
            def visit_Constant(self, node): self.n += node.value
        class Fmt(string.Formatter):
            def format_field(self, v, spec): return "<" + super().format_field(v, spec) + ">"
        class Par(html.parser.HTMLParser):
            def __init__(self):
                super().__init__()
                self.seen = []
            def handle_starttag(self, tag, attrs): self.seen.append(tag + "1")
        class Act(argparse.Action):
            def __call__(self, parser, ns, values, option=None): setattr(ns, self.dest, values * 2)
        class Low(dict):
            def __getitem__(self, k): return super().__getitem__(k.lower())
        class Words(collections.UserList):
            def __str__(self): return "+".join(self.data)
        class Err(ValueError):
            code = 7
            def __str__(self): return f"err {self.code} {self.args}"
        class Th(threading.Thread):
            def run(self): self.result = 8
        class Day(datetime.date):
            def label(self): return self.isoformat() + "!"
        class Cfg(configparser.ConfigParser):
            def optionxform(self, s): return s.upper()
        class Rnd(random.Random):
            def random(self): return 0.25
        class Dia(csv.Dialect):
            delimiter = ";"
            quoting = csv.QUOTE_MINIMAL
            quotechar = '"'
            lineterminator = "\\n"
        class Flt(logging.Filter):
            def filter(self, r): return 9
        class Int(int):
            def __add__(self, o): return Int(int(self) + o + 10)
        @task
        def run(x):
            v = Vis(); v.visit(ast.parse("1 + 2"))
            p = Par(); p.feed("<b>")
            ap = argparse.ArgumentParser(); ap.add_argument("--a", action=Act)
            t = Th(); t.start(); t.join()
            c = Cfg(); c.read_string("[s]\\nk = 1")
            try: raise Err(x)
            except Err as e: err = str(e)
            return (json.dumps({1}, cls=Enc), v.n, Fmt().format("{}", x), p.seen, ap.parse_args(["--a", "b"]).a, Low(k=1)["K"], str(Words("ab")), err, t.result,
                    Day(2024, 1, 2).label(), c.options("s"), Rnd(1).random(), next(csv.reader(["a;b"], Dia)), Flt().filter(None), Int(1) + 2)
        """,
        (EXECUTES, "json encoder", '"enc"', '"ENC"'),
        (EXECUTES, "visitor", "self.n += node.value", "self.n += 2 * node.value"),
        (EXECUTES, "formatter", '+ ">"', '+ "]"'),
        (EXECUTES, "parser", 'tag + "1"', 'tag + "2"'),
        (EXECUTES, "action", "values * 2", "values * 3"),
        (EXECUTES, "user list", '"+".join', '"-".join'),
        (EXECUTES, "exception", "err {self", "ERR {self"),
        (EXECUTES, "attribute of an exception", "code = 7", "code = 70"),
        (EXECUTES, "thread", "self.result = 8", "self.result = 80"),
        (EXECUTES, "date", '+ "!"', '+ "?"'),
        (EXECUTES, "config parser", "s.upper()", "s.lower()"),
        (EXECUTES, "random", "0.25", "0.75"),
        (EXECUTES, "dialect", 'delimiter = ";"', 'delimiter = ","'),
        (EXECUTES, "filter", "return 9", "return 90"),
        (EXECUTES, "int", "o + 10", "o + 20"),
        (COARSE, "dict, the same said in another way", "k.lower()", "str.lower(k)"),
        (HITS, "docstring", "class Err(ValueError):", "class Err(ValueError):\n    'Bad.'"),
    ),
]
