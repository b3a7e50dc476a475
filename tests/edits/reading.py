"""Edits of what code finds out about code: by names in texts, signatures, sources."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, Project, project

_HELPERS = """
# helpers.py
RATE = 2
OTHER = 5
def helper(x): return inner(x) * RATE
def inner(x): return x + 1
def beside(x): return x
"""


def _lookup(name: str, top: str, call: str, beside: str) -> Project:
    """The same edits under one way to get at a function of a module."""
    imports = "from tasklineage import task\nimport helpers, importlib, operator, inspect, sys, functools, types"
    text = f"# main.py\n{imports}\n{top}\n@task\ndef run(x):\n    return {call}\n{_HELPERS}"
    return project(
        f"looked up by {name}",
        text,
        (EXECUTES, "helper", "inner(x) * RATE", "inner(x) + RATE"),
        (EXECUTES, "helper of the helper", "x + 1", "x + 2"),
        (EXECUTES, "constant", "RATE = 2", "RATE = 3"),
        (HITS, "comment", "def beside(x): return", "def beside(x):  # b\n    return"),
        (beside, "function beside", "def beside(x): return x", "def beside(x): return -x"),
        (beside, "constant beside", "OTHER = 5", "OTHER = 6"),
    )


_LOOKUPS = [
    ("getattr with a default", "", "getattr(helpers, 'helper', None)(x)", HITS),
    ("__dict__ of a module", "", "helpers.__dict__['helper'](x)", COARSE),
    ("vars of a module", "", "vars(helpers)['helper'](x)", COARSE),
    ("sys.modules", "", "sys.modules['helpers'].helper(x)", HITS),
    ("sys.modules[...] chained getattr", "", "getattr(sys.modules['helpers'], 'helper')(x)", COARSE),
    ("import_module", "", "importlib.import_module('helpers').helper(x)", HITS),
    ("__import__", "", "__import__('helpers').helper(x)", HITS),
    ("attrgetter on a module", "get = operator.attrgetter('helper')", "get(helpers)(x)", COARSE),
    ("attrgetter in place", "", "operator.attrgetter('helper')(helpers)(x)", COARSE),
    ("methodcaller on a module", "call = operator.methodcaller('helper', 3)", "call(helpers)", COARSE),
    ("inspect.getmembers", "", "dict(inspect.getmembers(helpers))['helper'](x)", COARSE),
    ("functools.reduce of getattr", "", "functools.reduce(getattr, ['helper'], helpers)(x)", COARSE),
    ("module in a list", "MODULES = [helpers]", "MODULES[0].helper(x)", COARSE),
    ("module in a dict", "MODULES = {'h': helpers}", "MODULES['h'].helper(x)", COARSE),
    ("module as an attribute", "class K:\n    tools = helpers", "K.tools.helper(x)", COARSE),
    ("module as a default", "def f(x, m=helpers): return m.helper(x)", "f(x)", COARSE),
    ("module in a closure", "def make(m):\n    def f(x): return m.helper(x)\n    return f\nf = make(helpers)", "f(x)", HITS),
    ("module in a namespace", "NS = types.SimpleNamespace(tools=helpers)", "NS.tools.helper(x)", COARSE),
    ("module handed to a function", "def use(m, x): return m.helper(x)", "use(helpers, x)", COARSE),
    ("module under a condition", "import helpers as h1\nm = h1 if h1 else None", "m.helper(x)", HITS),
    ("lambda in a default", "", "(lambda f=helpers.helper: f(x))()", HITS),
    ("walrus", "", "(f := helpers.helper)(x)", HITS),
    ("star of a list of functions", "", "[*map(helpers.helper, [x])]", HITS),
    ("partial in place", "", "functools.partial(helpers.helper)(x)", HITS),
    ("method of a function", "", "helpers.helper.__call__(x)", HITS),
    ("getattr twice", "", "getattr(getattr(helpers, 'helper'), '__call__')(x)", HITS),
    ("dict of a lambda", "T = {'a': lambda v: helpers.helper(v)}", "T['a'](x)", HITS),
    ("nested functions", "def outer(v):\n    def mid():\n        def low(): return helpers.helper(v)\n        return low\n    return mid()()", "outer(x)", HITS),
    ("conditional expression", "", "(helpers.helper if x else helpers.inner)(x)", HITS),
    ("tuple unpacking of modules", "(h2, i2) = (helpers, importlib)", "h2.helper(x)", HITS),
    ("local alias", "def f(x):\n    h = helpers\n    g = h.helper\n    return g(x)", "f(x)", COARSE),
    ("global alias in a function", "def f(x):\n    global H3\n    import helpers as H3\n    return H3.helper(x)", "f(x)", HITS),
]
"""How the function is got: what stands above the task, what is called, and whether the rest of the
module counts."""

PROJECTS = [
    *(_lookup(*row) for row in _LOOKUPS),
    project(
        "names in texts",
        """
        # main.py
        from tasklineage import task
        import helpers, importlib, operator, inspect, sys, pickle
        NAME = "third"
        EXPR = "helpers.fifth(x) + LOCAL"
        LOCAL = 1
        def unread(x): return x
        @task
        def run(x):
            a = getattr(helpers, "first")(x)
            b = importlib.import_module("helpers").second(x)
            c = getattr(helpers, NAME)(x)
            d = operator.attrgetter("fourth")(helpers)(x)
            e = eval(EXPR)
            f = helpers.__dict__["sixth"](x)
            g = vars(helpers)["seventh"](x)
            h = sys.modules["helpers"].eighth(x)
            i = operator.methodcaller("ninth", x)(helpers)
            return a, b, c, d, e, f, g, h, i
        # helpers.py
        def first(x): return x + 1
        def second(x): return x + 2
        def third(x): return x + 3
        def fourth(x): return x + 4
        def fifth(x): return x + 5
        def sixth(x): return x + 6
        def seventh(x): return x + 7
        def eighth(x): return x + 8
        def ninth(x): return x + 9
        def tenth(x): return x + 10
        # unrelated.py
        def f(): return 1
        """,
        (EXECUTES, "function 1", "return x + 1\n", "return x - 1\n"),
        (EXECUTES, "function 2", "return x + 2\n", "return x - 2\n"),
        (EXECUTES, "function 3", "return x + 3\n", "return x - 3\n"),
        (EXECUTES, "function 4", "return x + 4\n", "return x - 4\n"),
        (EXECUTES, "function 5", "return x + 5\n", "return x - 5\n"),
        (EXECUTES, "function 6", "return x + 6\n", "return x - 6\n"),
        (EXECUTES, "function 7", "return x + 7\n", "return x - 7\n"),
        (EXECUTES, "function 8", "return x + 8\n", "return x - 8\n"),
        (EXECUTES, "function 9", "return x + 9\n", "return x - 9\n"),
        (EXECUTES, "name in a constant", 'NAME = "third"', 'NAME = "tenth"'),
        (EXECUTES, "expression in a constant", "helpers.fifth(x) + LOCAL", "helpers.fifth(x) - LOCAL"),
        (EXECUTES, "name in an expression in a constant", "LOCAL = 1", "LOCAL = 2"),
        (COARSE, "function that no name leads to, in a module used as a value", "return x + 10\n", "return x - 10\n"),
        (HITS, "comment", "def tenth(x): return", "def tenth(x):  # last\n    return"),
        (HITS, "unrelated module", "return 1\n", "return 2\n"),
    ),
    project(
        "source that is read",
        """
        # main.py
        from tasklineage import task
        import helpers, inspect
        @task
        def run(x): return inspect.getsource(helpers.shown), helpers.plain(x)
        # helpers.py
        def shown(x):
            return x + 1
        def plain(x): return x + 2
        def unread(x): return x
        """,
        (EXECUTES, "body", "x + 1", "x + 11"),
        (EXECUTES, "comment that is read", "    return x + 1", "    # look\n    return x + 1"),
        (EXECUTES, "another function", "x + 2", "x + 3"),
    ),
    project(
        "signatures that are read",
        """
        # main.py
        from tasklineage import task
        import helpers, inspect, dataclasses
        @task
        def run(x):
            params = inspect.signature(helpers.shown).parameters
            return ([(n, str(p.default), str(p.annotation)) for n, p in params.items()], helpers.Thing.__annotations__,
                [f.name for f in dataclasses.fields(helpers.Data)], helpers.shown.__defaults__, helpers.Thing.__doc__, helpers.shown.__qualname__)
        # helpers.py
        import dataclasses
        def shown(a: int, b: float = 2): return a
        class Thing:
            'A thing.'
            n: int
        @dataclasses.dataclass
        class Data:
            one: int = 1
        def other(a: int): return a
        """,
        (EXECUTES, "annotation", "a: int, b", "a: str, b"),
        (EXECUTES, "default", "b: float = 2", "b: float = 3"),
        (EXECUTES, "annotations of a class", "    n: int\n", "    n: str\n"),
        (EXECUTES, "name of a field", "one: int", "two: int"),
        (EXECUTES, "docstring", "'A thing.'", "'The thing.'"),
        (HITS, "annotation of another", "def other(a: int)", "def other(a: str)"),
        (HITS, "comment", "class Thing:", "class Thing:  # so"),
    ),
]
