"""Edits of programs that are begun, found or made in unusual ways."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, Start, project

PROJECTS = [
    project(
        "script",
        """
        # main.py
        from tasklineage import task
        import helpers
        class Local:
            def go(self): return 4
        def near(x): return x + 1
        @task
        def run(x): return near(x), helpers.far(x), Local().go()
        if __name__ == "__main__":
            STARTED = True
        # helpers.py
        def far(x): return x * 2
        def unused(x): return x
        if __name__ == "__main__":
            print("helpers")
        """,
        (HITS, "imported", Start("import main")),
        (HITS, "as a module", Start("-m main")),
        (HITS, "imported and edited where it does not matter", Start("import main"), "return x\n", "return -x\n"),
        (EXECUTES, "imported and edited", Start("import main"), "x + 1", "x + 2"),
        (EXECUTES, "helper in the script", "x + 1", "x + 2"),
        (EXECUTES, "helper beside the script", "x * 2", "x * 3"),
        (EXECUTES, "class in the script", "return 4", "return 5"),
        (HITS, "main guard", "STARTED = True", "STARTED = False"),
        (HITS, "main guard of a helper", 'print("helpers")', 'print("other")'),
        (HITS, "lines above", "import helpers", "import helpers\n\n# more\n\nX = 1"),
        (HITS, "renamed script", {"main.py": None, "renamed.py": "from tasklineage import task\nimport helpers\nclass Local:\n    def go(self): return 4\ndef near(x): return x + 1\n@task\ndef run(x): return near(x), helpers.far(x), Local().go()\n"}, Start("script renamed.py")),
        start="script main.py",
    ),
    project(
        "run as a module",
        """
        # pack/__init__.py
        LEVEL = 1
        # pack/job.py
        from tasklineage import task
        from . import tools
        from .tools import helper
        @task
        def run(x): return helper(x), tools.other(x)
        # pack/tools.py
        from . import LEVEL
        def helper(x): return x + LEVEL
        def other(x): return x * 2
        def unused(x): return x
        # flat.py
        from pack.job import run
        """,
        (EXECUTES, "helper", "x + LEVEL", "x - LEVEL"),
        (EXECUTES, "constant of the package", "LEVEL = 1", "LEVEL = 2"),
        (EXECUTES, "module attribute", "x * 2", "x * 3"),
        (HITS, "unused", "return x\n", "return 1\n"),
        (HITS, "imported", Start("import pack.job")),
        (HITS, "imported by another module", Start("import flat")),
        start="-m pack.job",
    ),
    project(
        "namespace package",
        """
        # main.py
        from tasklineage import task
        import space.inner.tools as tools
        from space import other
        @task
        def run(x): return tools.helper(x), other.value
        # space/inner/tools.py
        from space.other import value
        def helper(x): return x + value
        def unused(x): return x
        # space/other.py
        value = 5
        rest = 6
        """,
        (EXECUTES, "helper", "x + value", "x - value"),
        (EXECUTES, "constant", "value = 5", "value = 7"),
        (HITS, "unused", "return x\n", "return 1\n"),
        (HITS, "unread", "rest = 6", "rest = 7"),
        (HITS, "becomes a package", {"space/__init__.py": "", "space/inner/__init__.py": ""}),
        (HITS, "module added", {"space/inner/more.py": "def helper(x): return 0"}),
    ),
    project(
        "editable installs",
        """
        # main.py
        import os, sys, zipfile
        sys.path.insert(0, os.path.abspath("source/src"))
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                from importlib.util import spec_from_file_location
                if name == "hooked":
                    return spec_from_file_location(name, os.path.abspath("elsewhere/hooked.py"))
        sys.meta_path.append(Finder)
        with zipfile.ZipFile("packed.zip", "w") as archive:
            archive.write("inside.py", "zipped.py")
        sys.path.insert(0, os.path.abspath("packed.zip"))
        from tasklineage import task
        import installed, hooked, zipped
        @task
        def run(x): return installed.helper(x), hooked.helper(x), zipped.helper(x)
        # source/src/installed/__init__.py
        from .core import helper
        # source/src/installed/core.py
        def helper(x): return x + 1
        def unused(x): return x
        # elsewhere/hooked.py
        def helper(x): return x + 2
        def idle(x): return x + 20
        # inside.py
        def helper(x): return x + 3
        def spare(x): return x + 30
        """,
        (EXECUTES, "by a path", "x + 1", "x + 11"),
        (EXECUTES, "by a finder", "x + 2\n", "x + 22\n"),
        (EXECUTES, "in a zip", "x + 3\n", "x + 33\n"),
        (HITS, "unused by a path", "return x\n", "return 1\n"),
        (HITS, "unused by a finder", "x + 20", "x + 21"),
        (HITS, "unused in a zip", "x + 30", "x + 31"),
    ),
    project(
        "made by exec",
        """
        import collections, types
        SOURCE = '''
        def helper(x):
            # inside
            return x + offset
        def unused(x): return x
        class Made:
            def go(self): return 6
        '''
        space = {"offset": 2}
        exec(__import__("textwrap").dedent(SOURCE), space)
        helper, Made = space["helper"], space["Made"]
        by_eval = eval("lambda v: v * 3")
        Dynamic = type("Dynamic", (), {"go": lambda self: 7, "n": 8})
        compiled = {}
        exec(compile("def second(x): return x + 9", "generated.py", "exec"), compiled)
        second = compiled["second"]
        copied = types.FunctionType(second.__code__, {"__name__": "x"})
        module = types.ModuleType("handmade")
        module.value = 10
        module.function = lambda x: x + 11
        @task
        def run(x):
            return (helper(x), Made().go(), by_eval(x), Dynamic().go(), Dynamic.n, second(x), copied(x), module.value,
                    module.function(x), eval("x + 12"))
        """,
        *[
            (EXECUTES, name, old, new)
            for name, old, new in [
                ("helper", "x + offset", "x - offset"),
                ("global of a helper", '"offset": 2', '"offset": 3'),
                ("class", "return 6", "return 60"),
                ("eval at import", "v * 3", "v * 4"),
                ("class made by type", "self: 7", "self: 70"),
                ("attribute of a class made by type", '"n": 8', '"n": 80'),
                ("compiled", "x + 9", "x + 90"),
                ("value of a module made by hand", "module.value = 10", "module.value = 100"),
                ("function of a module made by hand", "x + 11", "x + 110"),
                ("eval in the body", "x + 12", "x + 120"),
            ]
        ],
        (HITS, "name of the file", '"generated.py"', '"other.py"'),
        (COARSE, "text in a module that is read by eval", "    # inside\n", ""),
    ),
    project(
        "cells",
        """
        # main.py
        import sys, types, linecache
        CELLS = ['''
        from tasklineage import task
        LIMIT = 3
        def helper(x):
            return x + LIMIT
        ''', '''
        @task
        def run(x):
            return helper(x), Shape().area()
        ''', '''
        class Shape:
            def area(self): return 4
        def unused(): return 1
        ''']
        def execute(name):
            space = vars(sys.modules["__main__"])
            for n, cell in enumerate(CELLS):
                import textwrap
                file = f"{name}{n}.py"
                exec(compile(textwrap.dedent(cell), file, "exec"), space)
            return space
        space = execute("/tmp/ipykernel_7/1")
        def answer(): return space["run"](3)
        """,
        (EXECUTES, "helper", "x + LIMIT", "x - LIMIT"),
        (EXECUTES, "constant", "LIMIT = 3", "LIMIT = 4"),
        (EXECUTES, "class in a later cell", "return 4", "return 5"),
        (HITS, "unused", "return 1", "return 2"),
        (HITS, "other numbers of cells", "ipykernel_7/1", "ipykernel_99/5"),
        (HITS, "names of a terminal", '"/tmp/ipykernel_7/1"', '"<ipython-input-"'),
        (HITS, "comment in a cell", "    return x + LIMIT", "    # so\n    return x + LIMIT"),
        (HITS, "cell split", "LIMIT = 3\n", "LIMIT = 3\n''', '''\n"),
        start="script main.py",
    ),
    project(
        "patches",
        """
        # main.py
        import json, collections, statistics, textwrap
        from tasklineage import task
        import patches
        from values import early
        import values
        @task
        def run(x):
            return statistics.mean([x]), textwrap.shorten("a b", 10), collections.UserList([x]).total(), early, values.late, values.made(x)
        # patches.py
        import statistics, textwrap, collections, functools, values
        def mean(data): return "patched", len(data)
        statistics.mean = mean
        plain = textwrap.shorten
        @functools.wraps(plain)
        def shorten(*args): return plain(*args) + "!"
        textwrap.shorten = shorten
        collections.UserList.total = lambda self: sum(self) + 1
        values.late = 6
        original = values.made
        values.made = lambda x: original(x) * 2
        # values.py
        early = 4
        late = 5
        def made(x): return x + 7
        """,
        (EXECUTES, "function of a library", '"patched"', '"changed"'),
        (EXECUTES, "function of a library wrapped", '"!"', '"?"'),
        (EXECUTES, "method of a library class", "sum(self) + 1", "sum(self) + 2"),
        (EXECUTES, "patch removed", "statistics.mean = mean\n", ""),
        (EXECUTES, "value of a module", "values.late = 6", "values.late = 8"),
        (EXECUTES, "wrapped function of a module", "x + 7", "x + 70"),
        (EXECUTES, "wrapper of a module's function", "original(x) * 2", "original(x) * 3"),
        (EXECUTES, "value that was imported before", "early = 4", "early = 40"),
        (HITS, "value that is overwritten", "late = 5", "late = 50"),
        (HITS, "patch of what nobody uses", "values.late = 6", "values.late = 6\nstatistics.median = mean"),
        (HITS, "comment", "import patches\n", "import patches  # first\n"),
    ),
    project(
        "plug-ins",
        """
        # main.py
        import importlib, pkgutil
        from tasklineage import task
        import plugins
        FOUND = {m.name: importlib.import_module(f"plugins.{m.name}") for m in pkgutil.iter_modules(plugins.__path__)}
        NAMES = sorted(FOUND)
        @task
        def run(x):
            return [FOUND[name].go(x) for name in NAMES]
        # plugins/__init__.py
        # plugins/one.py
        def go(x): return x + 1
        # plugins/two.py
        def go(x): return x + 2
        # aside.py
        def go(x): return x + 3
        """,
        (EXECUTES, "plug-in edited", "x + 1", "x + 10"),
        (EXECUTES, "plug-in added", {"plugins/three.py": "def go(x): return x + 30\n"}),
        (EXECUTES, "plug-in removed", {"plugins/two.py": None}),
        (HITS, "comment in a plug-in", "def go(x): return x + 1", "# one\ndef go(x): return x + 1"),
        (HITS, "module beside", "x + 3", "x + 4"),
    ),
]
