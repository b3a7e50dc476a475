"""Edits of functions: scopes, closures, wrappers, parameters, everything that stands in a body."""

from __future__ import annotations

import sys

from tests.edits.cases import COARSE, EXECUTES, HITS, project

RENAMED = COARSE if sys.version_info >= (3, 12) else HITS
"""The variable of one of two comprehensions that had the same: of one function, from 3.12 on."""

PROJECTS = [
    project(
        "layout",
        """
        from __future__ import annotations
        import math
        from typing import TYPE_CHECKING, TypeAlias
        from tasklineage import task
        if TYPE_CHECKING:
            from decimal import Decimal

        Number: TypeAlias = int
        UNUSED = [1, 2]

        def first(x: Number) -> Number:
            # one more
            result = x + 1
            return result

        def second(x):
            '''Twice.'''
            return x * 2

        def unused(x):
            return math.sqrt(x)

        @task
        def run(x: int) -> int:
            local = first(x)
            return local, second(x)
        """,
        (HITS, "comment", "# one more", "# and one more"),
        (HITS, "comment line added", "    result = x + 1", "    # so\n\n    result = x + 1  # there"),
        (HITS, "blank lines", "def second", "\n\n\n\ndef second"),
        (HITS, "indentation", "    result = x + 1\n    return result", "        result = x + 1\n        return result"),
        (HITS, "tabs", "    '''Twice.'''\n    return x * 2", "\t'''Twice.'''\n\treturn x * 2"),
        (HITS, "docstring", "'''Twice.'''", "'''Two times.'''"),
        (HITS, "docstring removed", "    '''Twice.'''\n", ""),
        (HITS, "docstring of the module", "from __future__", '"""What it does."""\nfrom __future__'),
        (HITS, "docstring of the task", "-> int:\n    local", "-> int:\n    '''Run.'''\n    local"),
        (HITS, "local variable renamed", "result = x + 1\n    return result", "total = x + 1\n    return total"),
        (HITS, "local variable of the task renamed", "local = first(x)\n    return local", "one = first(x)\n    return one"),
        (HITS, "annotation", "def first(x: Number) -> Number", "def first(x: float) -> 'str'"),
        (HITS, "annotation of a local", "result = x + 1", "result: int = x + 1"),
        (HITS, "type alias", "Number: TypeAlias = int", "Number: TypeAlias = float"),
        (HITS, "import under TYPE_CHECKING", "    from decimal import Decimal", "    from fractions import Fraction"),
        (HITS, "unused import removed", "import math\n", "", "math.sqrt(x)", "x ** .5"),
        (HITS, "unused import added", "import math\n", "import math\nimport json, re as regex\n"),
        (HITS, "unused global", "UNUSED = [1, 2]", "UNUSED = [1, 2, 3]"),
        (HITS, "unused global removed", "UNUSED = [1, 2]\n", ""),
        (HITS, "unused function", "math.sqrt(x)", "math.sqrt(x + 1)"),
        (HITS, "unused function renamed", "def unused", "def never_used"),
        (HITS, "unused function removed", "def unused(x):\n    return math.sqrt(x)\n", ""),
        (HITS, "unused class added", "UNUSED = [1, 2]", "class New:\n    def first(self): return 7\n"),
        (HITS, "unused name that shadows a builtin nobody uses", "UNUSED = [1, 2]", "def sorted(x): return 0"),
        (HITS, "quotes and underscores in numbers", "x * 2", "x * 0b10"),
        (HITS, "line continuation", "x + 1", "x \\\n        + 1"),
        (HITS, "parentheses", "return x * 2", "return (x * 2)"),
        (HITS, "pass", "    result = x + 1", "    pass\n    result = x + 1"),
        (HITS, "bare string in a body", "    result = x + 1", "    'a note'\n    result = x + 1"),
        (HITS, "functions reordered", "def second(x):\n    '''Twice.'''\n    return x * 2\n\n", "",
         "def first", "def second(x):\n    '''Twice.'''\n    return x * 2\n\ndef first"),
        (HITS, "trailing newline", "return local, second(x)\n", "return local, second(x)\n\n\n# end\n"),
        (HITS, "parenthesised tuple", "return local, second(x)", "return (local, second(x))"),
        (HITS, "dead code after return", "return x * 2", "return x * 2\n    print('never')"),
        (HITS, "if False", "    result = x + 1", "    if False:\n        x = 7\n    result = x + 1"),
        (HITS, "constant folded", "x + 1\n", "x + (3 - 2)\n"),
        (COARSE, "assertion that holds", "    result = x + 1", "    assert x\n    result = x + 1"),
        (COARSE, "spelt out in another way", "return x * 2", "doubled = x * 2\n    return doubled"),
        (COARSE, "keyword default that nobody passes", "def second(x):", "def second(x, extra=None):"),
        (COARSE, "helper split in two", "return x * 2", "return twice(x)\n\ndef twice(x):\n    return x * 2"),
        (EXECUTES, "body of the first", "x + 1", "x + 2"),
        (EXECUTES, "body of the second", "x * 2", "x * 3"),
        (EXECUTES, "order of the result", "return local, second(x)", "return second(x), local"),
        (EXECUTES, "operator of the same precedence", "x * 2", "x // 2"),
        (EXECUTES, "sign", "x + 1\n", "x + -1\n"),
        (EXECUTES, "int to float", "x * 2", "x * 2.0"),
        (EXECUTES, "statement between", "    result = x + 1", "    x += 1\n    result = x + 1"),
        (EXECUTES, "helper redefined below", "@task", "def first(x): return 0\n\n@task"),
        (EXECUTES, "helper deleted and a builtin found", "@task", "second = abs\n\n@task"),
    ),
    project(
        "parameters",
        """
        def positional(a, b=1, /): return a, b
        def keyword(*, c=2, d=3): return c, d
        def star(*args, **kwargs): return args, sorted(kwargs.items())
        def mutable(x, seen=[]): return len(seen), x
        def function(x, by=lambda v: v + 1): return by(x)
        SENTINEL = object()
        def sentinel(x, y=SENTINEL): return y is SENTINEL
        LIMIT = 5
        def bound(x, limit=LIMIT): return limit

        @task
        def run(x, lr=0.5, *, mode="a"):
            return positional(x), keyword(), star(x, z=1), mutable(x), function(x), sentinel(x), bound(x), lr, mode
        """,
        (EXECUTES, "positional default", "b=1", "b=2"),
        (EXECUTES, "keyword default", "c=2", "c=4"),
        (EXECUTES, "defaults swapped", "c=2, d=3", "c=3, d=2"),
        (COARSE, "keyword parameters swapped", "*, c=2, d=3", "*, d=3, c=2"),
        (EXECUTES, "mutable default", "seen=[]", "seen=[1]"),
        (EXECUTES, "default function", "v + 1", "v + 2"),
        (EXECUTES, "constant behind a default", "LIMIT = 5", "LIMIT = 6"),
        (EXECUTES, "default of the task passed to nobody else", "lr=0.5", "lr=0.25"),
        (EXECUTES, "keyword default of the task", 'mode="a"', 'mode="b"'),
        (HITS, "default written otherwise", "lr=0.5", "lr=1 / 2"),
        (HITS, "default of the task moved into a constant", "def positional", "RATE = 0.5\ndef positional", "lr=0.5", "lr=RATE"),
        (HITS, "annotation of a parameter", "def bound(x, limit=LIMIT)", "def bound(x: int, limit: int = LIMIT)"),
        (COARSE, "positional-only mark", "b=1, /", "b=1"),
        (EXECUTES, "star argument", "return args, sorted", "return args[1:], sorted"),
        (COARSE, "names of star arguments", "*args, **kwargs): return args, sorted(kwargs", "*a, **k): return a, sorted(k"),
        (HITS, "sentinel made anew", "SENTINEL = object()", "SENTINEL = (object())"),
    ),
    project(
        "closures",
        """
        def make(n, step=1):
            def inner(x):
                return x * n + step
            return inner
        three, four = make(3), make(4)
        def counter():
            total = 0
            def add(x):
                nonlocal total
                total += x
                return total
            return add
        def power(n):
            return lambda x: x ** n
        square = power(2)
        def compose(*functions):
            def composed(x):
                for function in functions:
                    x = function(x)
                return x
            return composed
        def plus(x): return x + 10
        def minus(x): return x - 5
        chain = compose(plus, minus, plus)
        def late():
            def call(x): return helper(x)
            def helper(x): return x + 20
            return call
        later = late()
        table = [lambda x, n=n: x + n for n in range(3)]

        @task
        def run(x):
            add = counter()
            add(x)
            return three(x), four(x), add(x), square(x), chain(x), later(x), [f(x) for f in table]
        """,
        (EXECUTES, "cell value", "make(3)", "make(5)"),
        (EXECUTES, "two cells swapped", "make(3), make(4)", "make(4), make(3)"),
        (EXECUTES, "default of the factory", "step=1", "step=2"),
        (EXECUTES, "inner body", "x * n + step", "x * n - step"),
        (EXECUTES, "nonlocal", "total += x", "total -= x"),
        (EXECUTES, "nonlocal removed", "        nonlocal total\n        total += x", "        total = x"),
        (EXECUTES, "lambda of a factory", "x ** n", "x // n"),
        (EXECUTES, "order of composed functions", "compose(plus, minus, plus)", "compose(plus, plus)"),
        (EXECUTES, "composed function", "x - 5", "x - 6"),
        (EXECUTES, "function in a cell filled later", "x + 20", "x + 21"),
        (EXECUTES, "lambda in a list", "x + n for", "x - n for"),
        (EXECUTES, "range of the list", "range(3)", "range(4)"),
        (HITS, "inner function renamed", "def inner(x):", "def within(x):", "return inner\n", "return within\n"),
        (HITS, "free variable renamed", "total = 0", "amount = 0", "nonlocal total\n        total += x\n        return total", "nonlocal amount\n        amount += x\n        return amount"),
        (HITS, "comment in an inner function", "nonlocal total", "nonlocal total  # of counter"),
        (HITS, "docstring in an inner function", "def call(x): return", "def call(x):\n        'Call.'\n        return"),
        (HITS, "another closure that nobody uses", "square = power(2)", "square = power(2)\ncube = power(3)"),
        (HITS, "inner annotation", "def composed(x):", "def composed(x: int) -> int:"),
    ),
    project(
        "wrappers",
        """
        import contextlib, functools, operator
        def logged(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs) + 1
            return wrapper
        def plain(function):
            def wrapper(x):
                return function(x) * 2
            return wrapper
        def configured(*, times=1, mode="sum"):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(x):
                    return sum(function(x) for _ in range(times)), mode
                return wrapper
            return decorate
        class Memo:
            def __init__(self, function):
                self.function, self.extra = function, 100
            def __call__(self, x):
                return self.function(x) + self.extra
        class register:
            known = {}
            def __init__(self, name): self.name = name
            def __call__(self, function):
                self.known[self.name] = function
                return function
        @logged
        def a(x): return x + 11
        @plain
        def b(x): return x + 12
        @configured(times=2)
        def c(x): return x + 13
        @Memo
        def d(x): return x + 14
        @functools.lru_cache
        def e(x): return x + 15
        @functools.cache
        def f(x): return x + 16
        @functools.singledispatch
        def g(x): return x + 17
        @g.register(int)
        @g.register(float)
        def _(x): return x + 18
        @register("one")
        def h(x): return x + 19
        @contextlib.contextmanager
        def opened(x):
            try:
                yield x + 20
            finally:
                pass
        part = functools.partial(pow, 2, mod=1000)
        nested = functools.partial(functools.partial(operator.add, 21), 1)
        total = functools.reduce(operator.add, [1, 2, 3])
        ordered = sorted([3, -1, 2], key=abs)
        @functools.total_ordering
        class Size:
            def __init__(self, n): self.n = n
            def __lt__(self, other): return self.n < other.n
            def __eq__(self, other): return self.n == other.n

        @task
        def run(x):
            with opened(x) as inside, contextlib.ExitStack() as stack:
                stack.callback(a, x)
            return (a(x), b(x), c(x), d(x), e(x), f(x), g(x), register.known["one"](x), inside, part(x), nested(),
                    total, ordered, Size(1) >= Size(x))
        """,
        *[(EXECUTES, f"wrapped {n}", f"return x + {n}", f"return x + {n}00") for n in (11, 12, 13, 14, 15, 16, 18, 19)],
        (EXECUTES, "wraps: wrapper", "function(*args, **kwargs) + 1", "function(*args, **kwargs) + 2"),
        (EXECUTES, "plain wrapper", "function(x) * 2", "function(x) * 3"),
        (EXECUTES, "decorator argument", "configured(times=2)", "configured(times=3)"),
        (EXECUTES, "decorator default", 'mode="sum"', 'mode="add"'),
        (EXECUTES, "decorator without argument", "configured(times=2)", "configured()"),
        (EXECUTES, "attribute of a wrapping object", "self.extra = function, 100", "self.extra = function, 200"),
        (EXECUTES, "call of a wrapping object", "self.function(x) + self.extra", "self.function(x) - self.extra"),
        (EXECUTES, "registered name", '@register("one")', 'register.known["one"] = abs\n@register("two")'),
        (EXECUTES, "dispatched type removed", "@g.register(int)\n", ""),
        (COARSE, "dispatched default that is not used", "return x + 17", "return x + 170"),
        (EXECUTES, "contextmanager", "yield x + 20", "yield x - 20"),
        (EXECUTES, "partial argument", "partial(pow, 2, mod", "partial(pow, 3, mod"),
        (EXECUTES, "partial keyword", "mod=1000", "mod=7"),
        (EXECUTES, "partial function", "functools.partial(pow, 2, mod=1000)", "functools.partial(max, 2)"),
        (EXECUTES, "nested partial", "operator.add, 21", "operator.sub, 21"),
        (EXECUTES, "reduce at import", "reduce(operator.add", "reduce(operator.mul, [2], 5) + functools.reduce(operator.add"),
        (EXECUTES, "key at import", "key=abs", "key=lambda v: -v"),
        (EXECUTES, "total_ordering", "self.n < other.n", "self.n > other.n"),
        (EXECUTES, "decorator removed", "@plain\n", ""),
        (EXECUTES, "decorator added", "@plain\n", "@plain\n@logged\n"),
        (HITS, "size of a cache", "@functools.cache", "@functools.lru_cache(maxsize=None)"),
        (HITS, "options of a cache", "@functools.lru_cache\n", "@functools.lru_cache(maxsize=7)\n"),
        (HITS, "comment in a decorator", "def plain(function):", "def plain(function):  # doubles"),
        (HITS, "docstring of a wrapper", "def wrapper(x):\n        return function(x) * 2", "def wrapper(x):\n        'Double.'\n        return function(x) * 2"),
        (HITS, "docstring of the wrapped", "def a(x): return", "def a(x):\n    'A.'\n    return"),
        (HITS, "annotation of the wrapped", "def a(x)", "def a(x: int) -> int"),
        (HITS, "decorator renamed", "def plain(", "def doubled(", "@plain", "@doubled"),
        (HITS, "unused decorator added", "class Memo:", "def other(f): return f\nclass Memo:"),
        (COARSE, "finally", "finally:\n        pass", "finally:\n        x = 0"),
    ),
    project(
        "bodies",
        """
        import re
        LOW, HIGH, SCALE = 1, 100, 2
        KEY = "a"
        class Box:
            __match_args__ = ("n",)
            def __init__(self, n): self.n = n
        def matching(x):
            match x:
                case 3: return "three"
                case Box(n): return n
                case {"a": value, **rest}: return value, rest
                case [1, *_]: return "list"
                case str() | bytes(): return "text"
                case _: return None
        def walrus(xs): return [y for v in xs if (y := v * SCALE) > LOW]
        def nested(n): return [[i * j * SCALE for j in range(i)] for i in range(n)]
        def sets(n): return sorted({i % HIGH for i in range(n)}), {str(i): i for i in range(n)}
        def lazy(n): return (i + LOW for i in range(n))
        class Scope:
            values = [1, 2, 3]
            doubled = [v * 2 for v in values]
        def handled(x):
            try:
                return 1 // (x - 3)
            except ZeroDivisionError:
                return "zero"
            else:
                return "fine"
            finally:
                x = 0
        def raised(x):
            try:
                raise ValueError("bad", x)
            except (KeyError, ValueError) as error:
                return error.args
        def generator(n):
            got = yield n
            for i in range(n): yield i * SCALE
            return 5
        def delegated(n):
            last = yield from generator(n)
            yield last
        def text(x): return f"{x:>{HIGH // 20}}|{x!r}|{KEY}" + "%s-%d" % (KEY, LOW) + "{0}".format(KEY)
        def sliced(xs): return xs[LOW:], xs[-1], xs[::2]
        def looped(n):
            out = []
            while True:
                n -= 1
                if n < 0: break
                if n == 1: continue
                out.append(n)
            else:
                out.append("else")
            return out
        def chained(x): return LOW < x < HIGH and x or not x
        def unpacked(xs):
            first, *rest = xs
            return {**{"a": first}, "rest": [*rest, *xs]}
        def deleted(x):
            d = {"a": 1, "b": 2}
            del d["a"]
            return d
        def strings(x): return re.sub("[aeiou]", "-", "education"), "a" "b", b"c"
        def conditional(x): return "big" if x > 2 else "small"
        def defaulted(d): return d.get("k", "none")

        @task
        def run(x):
            return [matching(x), matching(Box(7)), matching({"a": 1, "b": 2}), matching([1, 2]), matching("s"), walrus([0, 1, 2]),
                    nested(x), sets(x), list(lazy(x)), Scope.doubled, handled(x), raised(x), list(delegated(x)),
                    text(x), sliced([1, 2, 3]), looped(x), chained(x), unpacked([1, 2, 3]), deleted(x), strings(x),
                    conditional(x), defaulted({})]
        """,
        (EXECUTES, "match literal", "case 3:", "case 4:"),
        (EXECUTES, "match class", "case Box(n): return n", "case Box(n): return -n"),
        (EXECUTES, "match attribute", "case Box(n)", "case Box(n=8 as n)"),
        (EXECUTES, "match key", '{"a": value, **rest}: return value, rest', '{"b": value, **rest}: return value, rest'),
        (EXECUTES, "match sequence", "[1, *_]", "[2, *_]"),
        (EXECUTES, "match alternative", "str() | bytes()", "bytes()"),
        (EXECUTES, "match order", "case Box(n): return n", "case Box(): return 0"),
        (EXECUTES, "walrus", "y := v * SCALE", "y := v + SCALE"),
        (EXECUTES, "global of a nested comprehension", "SCALE = 1, 100, 2", "SCALE = 1, 100, 3"),
        (EXECUTES, "global of a set comprehension", "HIGH, SCALE = 1, 100", "HIGH, SCALE = 1, 2"),
        (EXECUTES, "global of a generator expression", "LOW, HIGH, SCALE = 1,", "LOW, HIGH, SCALE = 0,"),
        (EXECUTES, "nested comprehension", "for j in range(i)", "for j in range(i + 1)"),
        (EXECUTES, "dict comprehension", "{str(i): i", "{str(i): -i"),
        (EXECUTES, "comprehension of a class body", "v * 2 for v", "v * 3 for v"),
        (EXECUTES, "list of a class body", "values = [1, 2, 3]", "values = [1, 2]"),
        (EXECUTES, "except body", 'return "zero"', 'return "none"'),
        (EXECUTES, "except clause", "except ZeroDivisionError", "except KeyError"),
        (EXECUTES, "exception arguments", '"bad", x', '"worse", x'),
        (EXECUTES, "yield", "yield i * SCALE", "yield i"),
        (EXECUTES, "return of a generator", "return 5", "return 6"),
        (EXECUTES, "yield from", "last = yield from generator(n)", "last = yield from generator(n - 1)"),
        (EXECUTES, "format width", "HIGH // 20", "HIGH // 10"),
        (EXECUTES, "format conversion", "{x!r}", "{x!a}|"),
        (EXECUTES, "percent format", '"%s-%d"', '"%s_%d"'),
        (EXECUTES, "constant of a format", 'KEY = "a"', 'KEY = "b"'),
        (EXECUTES, "slice", "xs[::2]", "xs[::3]"),
        (EXECUTES, "index", "xs[-1]", "xs[0]"),
        (EXECUTES, "break", "if n < 0: break", "if n < 1: break"),
        (EXECUTES, "continue", "if n == 1: continue", "if n == 2: continue"),
        (EXECUTES, "chained comparison", "LOW < x < HIGH", "LOW < x < 2"),
        (EXECUTES, "and to or", "and x or not x", "or x or not x"),
        (EXECUTES, "unpacking", "first, *rest", "*rest, first"),
        (EXECUTES, "double star", '{**{"a": first}, "rest"', '{"rest"'),
        (EXECUTES, "del", 'del d["a"]', 'del d["b"]'),
        (EXECUTES, "regex literal", '"[aeiou]"', '"[aeio]"'),
        (EXECUTES, "bytes literal", 'b"c"', 'b"d"'),
        (EXECUTES, "conditional expression", "x > 2", "x > 3"),
        (EXECUTES, "default of get", '"none"', '"null"'),
        (HITS, "adjacent strings", '"a" "b"', '"ab"'),
        (RENAMED, "comprehension variable", "{i % HIGH for i in range(n)}", "{k % HIGH for k in range(n)}"),
        (HITS, "exception variable", "as error:\n        return error.args", "as problem:\n        return problem.args"),
        (HITS, "loop variable", "for i in range(n): yield i * SCALE", "for k in range(n): yield k * SCALE"),
        (HITS, "variable of a match", "case Box(n): return n", "case Box(m): return m"),
        (HITS, "long comprehension over lines", "[y for v in xs if (y := v * SCALE) > LOW]", "[\n        y\n        for v in xs\n        if (y := v * SCALE) > LOW\n    ]"),
        (HITS, "ways to write a string", '"%s-%d"', "'%s-%d'"),
        (HITS, "suite on its own line", "if n < 0: break", "if n < 0:\n            break"),
        (COARSE, "branch that is not taken", '"small"', '"little"'),
        (COARSE, "case that is not reached", "case _: return None", "case _: return 0"),
    ),
    project(
        "coroutines",
        """
        import asyncio, contextlib
        STEP = 1
        async def fetch(x):
            await asyncio.sleep(0)
            return x + STEP
        async def numbers(n):
            for i in range(n):
                yield i * 2
        @contextlib.asynccontextmanager
        async def session(x):
            yield x + 5
        class Client:
            async def __aenter__(self): return 7
            async def __aexit__(self, *error): return False
            def __aiter__(self): return numbers(2)
        async def gathered(x):
            return await asyncio.gather(*(fetch(i) for i in range(x)))
        async def unused(x): return x

        @task
        async def run(x):
            async with session(x) as s, Client() as c:
                return [i async for i in numbers(x)], await gathered(x), s, c, [i async for i in Client()]
        def answer(): return asyncio.run(run(3))
        """,
        (EXECUTES, "awaited helper", "x + STEP", "x - STEP"),
        (EXECUTES, "global of a coroutine", "STEP = 1", "STEP = 2"),
        (EXECUTES, "asynchronous generator", "yield i * 2", "yield i * 3"),
        (EXECUTES, "asynchronous context manager", "yield x + 5", "yield x + 6"),
        (EXECUTES, "__aenter__", "return 7", "return 8"),
        (EXECUTES, "__aiter__", "numbers(2)", "numbers(3)"),
        (EXECUTES, "asynchronous comprehension", "[i async for i in numbers(x)]", "[-i async for i in numbers(x)]"),
        (HITS, "comment", "await asyncio.sleep(0)", "await asyncio.sleep(0)  # let others run"),
        (HITS, "unused coroutine", "async def unused(x): return x", "async def unused(x): return -x"),
        (RENAMED, "variable of an asynchronous comprehension", "[i async for i in numbers(x)]", "[k async for k in numbers(x)]"),
    ),
    project(
        "names",
        """
        import operator
        class Thing:
            size = 5
            def area(self, k=1): return self.size * k
        THING = Thing()
        def shown(): return "shown"
        def other(): return "other"
        NAME = "size"
        get_size = operator.attrgetter("size")
        call_area = operator.methodcaller("area", 2)
        first = operator.itemgetter(0)

        @task
        def run(x):
            return (get_size(THING), call_area(THING), first([4, 5]), getattr(THING, NAME), getattr(THING, "area")(3),
                    "{0.size}".format(THING), f"{THING.size}", globals()["shown"](), vars(Thing)["size"])
        """,
        (EXECUTES, "attribute behind attrgetter", "size = 5", "size = 6"),
        (EXECUTES, "method behind methodcaller", "self.size * k", "self.size + k"),
        (EXECUTES, "argument of methodcaller", '"area", 2', '"area", 3'),
        (EXECUTES, "itemgetter", "itemgetter(0)", "itemgetter(1)"),
        (EXECUTES, "attrgetter", 'attrgetter("size")', 'attrgetter("area.__name__")'),
        (EXECUTES, "format with an attribute", '"{0.size}"', '"{0.size:3}"'),
        (EXECUTES, "function found in globals()", '"shown"\n', '"displayed"\n'),
        (COARSE, "another function of a module that is read by globals()", '"other"', '"others"'),
        (HITS, "comment in a module that is read by globals()", "class Thing:", "# a thing\nclass Thing:"),
        (HITS, "docstring of a class", "class Thing:", "class Thing:\n    'A thing.'"),
    ),
    project(
        "special attributes",
        """
        import inspect
        def documented():
            '''The doc.'''
        def plain():
            '''Not read.'''
            return 1
        def named(): return 0
        @task
        def run(x):
            return documented.__doc__, plain(), named.__name__
        """,
        (EXECUTES, "docstring that is read", "The doc", "A doc"),
        (HITS, "docstring that is not read", "Not read", "Nobody reads it"),
        (EXECUTES, "function renamed whose name is read", "def named(): return 0", "def renamed(): return 0\nnamed = renamed"),
        (HITS, "body of which only the name is read", "def named(): return 0", "def named(): return 1"),
        (HITS, "comment", "import inspect", "import inspect  # unused"),
    ),
]
