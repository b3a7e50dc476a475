"""Edits beside imports of every form: what is imported counts, its neighbours do not."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, Project, project

_HELPERS = """
# helpers.py
RATE = 2
OTHER = 3
def helper(x): return inner(x) * RATE
def inner(x): return x + 1
def neighbour(x): return x - 1
class Thing:
    def go(self): return 5
"""


def _form(name: str, imports: str, call: str, *more: tuple[object, ...], body: bool = False) -> Project:
    """The same edits under one form of import, at the top of the module or in the body."""
    indented = imports.replace("\n", "\n    ")
    top, inside = ("", f"    {indented}\n") if body else (f"{imports}\n", "")
    text = f"# main.py\nfrom tasklineage import task\n{top}@task\ndef run(x):\n{inside}    return {call}\n{_HELPERS}"
    return project(
        name,
        text,
        (EXECUTES, "helper", "inner(x) * RATE", "inner(x) + RATE"),
        (EXECUTES, "helper of the helper", "return x + 1", "return x + 2"),
        (EXECUTES, "constant of the helper", "RATE = 2", "RATE = 5"),
        (HITS, "neighbour", "return x - 1", "return x - 2"),
        (HITS, "neighbouring constant", "OTHER = 3", "OTHER = 4"),
        (HITS, "neighbouring class", "return 5", "return 6"),
        (HITS, "function added", "OTHER = 3", "OTHER = 3\ndef more(x): return x"),
        (HITS, "reordered", "def inner(x): return x + 1\n", "", "OTHER = 3\n", "OTHER = 3\ndef inner(x): return x + 1\n"),
        *more,
    )


PROJECTS = [
    _form("import module", "import helpers", "helpers.helper(x)"),
    _form("import module as", "import helpers as h", "h.helper(x)"),
    _form("from module import", "from helpers import helper", "helper(x)",
          (HITS, "imported in another way", "from helpers import helper", "import helpers\nhelper = helpers.helper")),
    _form("from module import as", "from helpers import helper as h, neighbour as n", "h(x)"),
    _form("star import", "from helpers import *", "helper(x)",
          (HITS, "__all__ added", "OTHER = 3", "__all__ = ['helper']\nOTHER = 3")),
    _form("import in the body", "import helpers", "helpers.helper(x)", body=True),
    _form("import as in the body", "import helpers as h", "h.helper(x)", body=True),
    _form("from import in the body", "from helpers import helper", "helper(x)", body=True,),
    _form("from import as in the body", "from helpers import helper as h", "h(x)", body=True),
    _form("conditional import", "try:\n    import _absent as helpers\nexcept ImportError:\n    import helpers", "helpers.helper(x)"),
    _form("import under a version test", "import sys\nif sys.version_info >= (3, 0):\n    from helpers import helper\nelse:\n    helper = None", "helper(x)"),
    _form("conditional import in the body", "try:\n    import _absent as helpers\nexcept ImportError:\n    import helpers", "helpers.helper(x)", body=True),
    _form("import_module", "import importlib\nhelpers = importlib.import_module('helpers')", "helpers.helper(x)"),
    _form("__import__", "helpers = __import__('helpers')", "helpers.helper(x)"),
    _form("getattr of a module", "import helpers", "getattr(helpers, 'helper')(x)"),
    _form("getattr at import", "import helpers\nhelper = getattr(helpers, 'hel' + 'per')", "helper(x)"),
    _form("alias of an alias", "import helpers as a\nb = a\nc = b.helper", "c(x)"),
    _form("function in a dict", "import helpers\nTABLE = {'h': helpers.helper}", "TABLE['h'](x)"),
    _form("function as an attribute", "import helpers\nclass K:\n    h = staticmethod(helpers.helper)", "K.h(x)"),
    _form("import inside a function at import", "def load():\n    import helpers\n    return helpers.helper\nhelper = load()", "helper(x)"),
    project(
        "package",
        """
        # main.py
        from tasklineage import task
        import pack
        import pack.deep.core as core
        from pack import shown, Public
        from pack.deep import lazy
        @task
        def run(x):
            from pack import late
            return shown(x), Public().go(), core.compute(x), pack.deep.LEVEL, lazy.value(x), late.value(x), pack.VERSION
        # pack/__init__.py
        from .api import shown
        from .api import Public
        from . import deep
        from . import config as _config
        VERSION = _config.VERSION
        UNUSED = 1
        # pack/api.py
        from __future__ import annotations
        from . import config
        from .deep.core import compute as _compute
        from .deep import *
        def shown(x): return _compute(x) + config.ALPHA + STARRED
        def hidden(x): return config.GAMMA
        class Public:
            def go(self): return config.BETA
        # pack/config.py
        ALPHA = 1
        BETA = 2
        GAMMA = 3
        VERSION = "1"
        # pack/deep/__init__.py
        __all__ = ["STARRED"]
        STARRED = 40
        LEVEL = 50
        _PRIVATE = 60
        # pack/deep/core.py
        from .. import config
        from ..config import BETA as beta
        def compute(x): return x * beta
        def other(x): return config.GAMMA
        # pack/deep/lazy.py
        def value(x): return x + 80
        # pack/late.py
        from . import deep
        def value(x): return x + 70
        def other(x): return deep.LEVEL
        """,
        (EXECUTES, "re-exported function", "config.ALPHA + STARRED", "config.ALPHA - STARRED"),
        (EXECUTES, "re-exported class", "return config.BETA", "return -config.BETA"),
        (EXECUTES, "constant through a module", "ALPHA = 1", "ALPHA = 2"),
        (EXECUTES, "constant imported by name", "BETA = 2", "BETA = 3"),
        (EXECUTES, "relative import of the parent", "x * beta", "x + beta"),
        (EXECUTES, "starred name", "STARRED = 40", "STARRED = 41"),
        (EXECUTES, "name of a subpackage", "LEVEL = 50", "LEVEL = 51"),
        (EXECUTES, "module imported in the body", "x + 70", "x + 71"),
        (EXECUTES, "submodule", "x + 80", "x + 81"),
        (EXECUTES, "constant re-exported by assignment", 'VERSION = "1"', 'VERSION = "2"'),
        (HITS, "constant that nobody reached reads", "GAMMA = 3", "GAMMA = 4"),
        (HITS, "name of the package that is not read", "UNUSED = 1", "UNUSED = 2"),
        (HITS, "private name", "_PRIVATE = 60", "_PRIVATE = 61"),
        (HITS, "function of a module in use", "def hidden(x): return config.GAMMA", "def hidden(x): return 0"),
        (HITS, "unused function of the last module", "return deep.LEVEL", "return 0"),
        (HITS, "module added", {"pack/more.py": "X = 1\n"}),
        (HITS, "module added and imported by the package", {"pack/more.py": "X = 1\n"}, "UNUSED = 1", "from . import more"),
        (HITS, "order of imports in the package", "from .api import shown\nfrom .api import Public", "from .api import Public\nfrom .api import shown"),
        (HITS, "imports joined", "from .api import shown\nfrom .api import Public", "from .api import Public, shown"),
        (HITS, "absolute instead of relative", "from .. import config\n", "from pack import config\n"),
        (HITS, "constant moved and re-exported", 'VERSION = "1"\n', "", {"pack/version.py": "VERSION = '1'\n"}, "VERSION = _config.VERSION", "from .version import VERSION"),
        (HITS, "docstring of the package", "UNUSED = 1", "'''The package.'''"),
        (EXECUTES, "import redirected", "from .deep.core import compute as _compute", "from .deep.lazy import value as _compute"),
        (HITS, "function moved and imported from there", "def compute(x): return x * beta\n", "from ..moved import compute\n",
         {"pack/moved.py": "from .config import BETA as beta\ndef compute(x):\n    # moved\n    return x * beta\n"}),
    ),
    project(
        "lazy modules",
        """
        # main.py
        from tasklineage import task
        import lazy, typed
        from lazy import eager
        @task
        def run(x):
            return lazy.found, eager(x), typed.Checker().check(x), lazy.sub.value
        # lazy/__init__.py
        import importlib
        def __getattr__(name):
            if name == "found":
                from .impl import found
                return found
            if name == "sub":
                return importlib.import_module("lazy.sub")
            raise AttributeError(name)
        def __dir__(): return ["found"]
        def eager(x): return x + 1
        # lazy/impl.py
        found = 10
        other = 11
        # lazy/sub.py
        value = 20
        rest = 21
        # typed.py
        import typing
        if typing.TYPE_CHECKING:
            from helpers import Missing
        class Checker:
            def check(self, x: "Missing") -> "Missing": return x
        """,
        (EXECUTES, "value behind __getattr__", "found = 10", "found = 12"),
        (EXECUTES, "eager neighbour", "x + 1", "x + 2"),
        (EXECUTES, "submodule behind __getattr__", "value = 20", "value = 22"),
        (HITS, "neighbour of a lazy value", "other = 11", "other = 12"),
        (HITS, "neighbour in a lazy submodule", "rest = 21", "rest = 22"),
        (HITS, "__dir__", '["found"]', '["found", "sub"]'),
        (HITS, "import for type checkers", "from helpers import Missing", "from helpers import Missing, Other"),
        (HITS, "annotation as a text", '"Missing") -> "Missing"', '"Absent") -> "Absent"'),
        (HITS, "comment in __getattr__", "    raise AttributeError(name)", "    # nothing\n    raise AttributeError(name)"),
    ),
    project(
        "optional modules",
        """
        # main.py
        from tasklineage import task
        try:
            from fast import compute
        except ImportError:
            def compute(x): return x + 1
        try:
            import faster
        except ImportError:
            faster = None
        def choose(x):
            try:
                import fastest
            except ImportError:
                return "none"
            return fastest.compute(x)
        @task
        def run(x):
            return compute(x), faster and faster.compute(x), choose(x)
        # unrelated.py
        X = 1
        """,
        (EXECUTES, "fast appears", {"fast.py": "def compute(x): return x + 2"}),
        (EXECUTES, "faster appears", {"faster.py": "def compute(x): return x + 3"}),
        (EXECUTES, "fastest appears", {"fastest.py": "def compute(x): return x + 4"}),
        (EXECUTES, "fallback", "return x + 1", "return x + 5"),
        (HITS, "something else appears", {"slow.py": "def compute(x): return 0"}),
        (HITS, "unrelated", "X = 1", "X = 2"),
        (HITS, "unrelated removed", {"unrelated.py": None, "other.py": "Y = 1"}),
    ),
    project(
        "cyclic imports",
        """
        # main.py
        from tasklineage import task
        import left
        FACTOR = 3
        @task
        def run(x): return left.go(x)
        # left.py
        import right
        DEPTH = 2
        def go(x): return x if x <= 0 else right.back(x - 1) + 1
        # right.py
        import left
        def back(x): return left.go(x) * left.DEPTH
        def aside(x): return left.go(x)
        """,
        (EXECUTES, "near", "x if x <= 0 else", "-1 if x <= 0 else"),
        (EXECUTES, "far", "left.go(x) * left.DEPTH", "left.go(x) + left.DEPTH"),
        (EXECUTES, "constant", "DEPTH = 2", "DEPTH = 3"),
        (HITS, "constant beside", "FACTOR = 3", "FACTOR = 4"),
        (HITS, "function beside", "def aside(x): return left.go(x)", "def aside(x): return -left.go(x)"),
        (HITS, "comment", "import left\nFACTOR", "import left  # and right\nFACTOR"),
    ),
    project(
        "configuration",
        """
        # main.py
        from tasklineage import task
        import settings
        from settings import DB, PATHS, section
        @task
        def run(x):
            conf = settings.CONF
            return (settings.LR, DB["host"], str(PATHS.root), section.depth, conf["model"]["layers"], settings.current().name,
                    settings.TOTAL, settings.NAMES)
        # settings.py
        import os, json, pathlib, types
        LR = 0.1
        UNUSED = 0.2
        DB = {"host": "a", "port": 1}
        PATHS = types.SimpleNamespace(root=pathlib.PurePosixPath("data"), cache="tmp")
        class section:
            depth = 3
            width = 4
        CONF = json.loads('{"model": {"layers": 2}, "seed": 1}')
        class Current:
            name = "dev"
        def current(): return Current()
        TOTAL = sum(CONF["model"].values())
        NAMES = sorted({"b", "a"})
        HERE = os.path.dirname(os.path.abspath(__file__))
        STARTED = os.getpid()
        """,
        (EXECUTES, "number", "LR = 0.1", "LR = 0.2"),
        (EXECUTES, "dict", '"host": "a"', '"host": "b"'),
        (EXECUTES, "path", '"data"', '"date"'),
        (EXECUTES, "class used as a section", "depth = 3", "depth = 5"),
        (EXECUTES, "nested", '"layers": 2', '"layers": 3'),
        (EXECUTES, "class behind a function", 'name = "dev"', 'name = "prod"'),
        (EXECUTES, "computed", "sum(CONF", "1 + sum(CONF"),
        (EXECUTES, "set that is sorted", '{"b", "a"}', '{"b", "c"}'),
        (HITS, "unread number", "UNUSED = 0.2", "UNUSED = 0.3"),
        (HITS, "set written in another order", '{"b", "a"}', '{"a", "b"}'),
        (HITS, "written otherwise", "LR = 0.1", "LR = 1 / 10"),
        (HITS, "unread computed value", "STARTED = os.getpid()", "STARTED = os.getpid() + 1"),
        (COARSE, "unread key of a dict that is read", '"port": 1', '"port": 2'),
        (COARSE, "unread attribute of a class that is read", "width = 4", "width = 5"),
        (COARSE, "unread key in a nested dict", '"seed": 1', '"seed": 2'),
        (COARSE, "order of a dict", '{"host": "a", "port": 1}', '{"port": 1, "host": "a"}'),
    ),
    project(
        "library aliases",
        """
        import math, os.path, functools, itertools, statistics
        import numpy as np
        from math import sqrt as root
        from collections import Counter as Bag
        import json as codec
        mean = statistics.mean
        join = os.path.join
        unused = math.floor
        @task
        def run(x):
            return root(x), sorted(Bag("ab").items()), codec.dumps([x]), mean([x, 1]), join("a", "b"), np.sum([x, 1]), math.ceil(1.5)
        """,
        (EXECUTES, "alias of a function", "sqrt as root", "exp as root"),
        (EXECUTES, "alias of a class", "Counter as Bag", "OrderedDict as Bag", 'Bag("ab")', 'Bag(a=1)'),
        (EXECUTES, "alias of a module", "import json as codec", "import pickle as codec", "codec.dumps([x])", "codec.dumps([x], 0)"),
        (EXECUTES, "assigned function", "mean = statistics.mean", "mean = statistics.median_high"),
        (EXECUTES, "function of a library", "np.sum", "np.max"),
        (EXECUTES, "function of a module", "math.ceil", "math.floor"),
        (HITS, "unused alias", "unused = math.floor", "unused = math.ceil"),
        (HITS, "unused import", "functools, itertools", "itertools, functools, decimal"),
        (HITS, "imported in another way", "import math, os.path", "import math, posixpath, os.path", "join = os.path.join", "join = posixpath.join"),
        (COARSE, "alias renamed everywhere", "import numpy as np\n", "import numpy\n", "np.sum(", "numpy.sum("),
    ),
]
