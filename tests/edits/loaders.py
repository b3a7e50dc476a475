"""Edits of code and data that a program finds while it runs: by computed names, paths, readers."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "modules by computed names",
        """
        # main.py
        import importlib
        from tasklineage import task
        KIND = "one"
        @task
        def run(x):
            found = importlib.import_module(f"plugins.{KIND}")
            other = importlib.import_module("plugins." + "two"[:3])
            return found.go(x), other.go(x)
        # plugins/__init__.py
        VERSION = 1
        # plugins/one.py
        from shared import RATE, scaled
        def go(x):
            '''Go.'''
            return scaled(x) + RATE
        # plugins/two.py
        def go(x): return x + 2
        # plugins/three.py
        def go(x): return x + 3
        # shared.py
        RATE = 7
        OTHER = 8
        def scaled(x): return x * 10
        # unrelated.py
        X = 1
        """,
        (EXECUTES, "plug-in", "scaled(x) + RATE", "scaled(x) - RATE"),
        (EXECUTES, "plug-in that another name leads to", "x + 2", "x + 20"),
        (EXECUTES, "helper of a plug-in", "x * 10", "x * 11"),
        (EXECUTES, "constant of a plug-in", "RATE = 7", "RATE = 9"),
        (EXECUTES, "the name", 'KIND = "one"', 'KIND = "three"'),
        (
            HITS,
            "comment in a plug-in",
            "def go(x):\n    '''Go.'''",
            "# to go\ndef go(x):\n    '''Go.'''",
        ),
        (HITS, "docstring in a plug-in", "'''Go.'''", "'''Go on.'''"),
        (HITS, "plug-in that is not loaded", "x + 3", "x + 30"),
        (HITS, "module beside", "X = 1", "X = 2"),
        (COARSE, "unused constant of a module that a plug-in uses", "OTHER = 8", "OTHER = 9"),
    ),
    project(
        "modules by computed names, loaded before",
        """
        # main.py
        import importlib, sys
        from tasklineage import task
        import plugins.one, plugins.two
        @task
        def run(x):
            name = "".join(["o", "ne"])
            return importlib.import_module(f"plugins.{name}").go(x), sys.modules["plugins." + name].go(x)
        # plugins/__init__.py
        # plugins/one.py
        def go(x): return x + 1
        # plugins/two.py
        def go(x): return x + 2
        """,
        (EXECUTES, "plug-in", "x + 1", "x + 10"),
        (HITS, "comment in a plug-in", "def go(x): return x + 1", "def go(x): return x + 1  # so"),
        (COARSE, "plug-in that is loaded and not used", "x + 2", "x + 20"),
    ),
    project(
        "relative names of modules",
        """
        # main.py
        from tasklineage import task
        from pack.job import go
        @task
        def run(x): return go(x)
        # pack/__init__.py
        # pack/job.py
        import importlib
        def go(x):
            near = importlib.import_module(".near", __package__)
            far = importlib.import_module("..far.deep", package="pack.far")
            return near.value(x), far.value(x)
        # pack/near.py
        def value(x): return x + 1
        def unused(x): return x
        # pack/far/__init__.py
        # pack/far/deep.py
        def value(x): return x + 2
        """.replace('"..far.deep"', '".deep"'),
        (EXECUTES, "near", "x + 1", "x + 11"),
        (EXECUTES, "far", "x + 2", "x + 22"),
        (HITS, "comment", "def value(x): return x + 1", "# near\ndef value(x): return x + 1"),
    ),
    project(
        "its own module by name",
        """
        # main.py
        import sys
        from tasklineage import task
        def do_add(x): return x + 1
        def do_sub(x): return x - 1
        def dispatch(kind, x): return getattr(sys.modules[__name__], "do_" + kind)(x)
        @task
        def run(x): return dispatch("add", x)
        # aside.py
        Y = 1
        """,
        (EXECUTES, "function that a computed name leads to", "x + 1", "x + 10"),
        (COARSE, "function beside", "x - 1", "x - 10"),
        (HITS, "comment", "def do_sub(x)", "# less\ndef do_sub(x)"),
        (HITS, "another module", "Y = 1", "Y = 2"),
    ),
    project(
        "modules from paths",
        """
        # main.py
        import importlib.util, runpy, types
        from tasklineage import task
        def load(path):
            spec = importlib.util.spec_from_file_location("loaded", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        @task
        def run(x):
            space = {}
            with open("executed.py") as file:
                exec(compile(file.read(), "executed.py", "exec"), space)
            return load("extra/rules.py").go(x), runpy.run_path("script.py")["RESULT"], runpy.run_module("job")["RESULT"], space["go"](x)
        # extra/rules.py
        from helpers import shift
        def go(x): return shift(x) + 1
        # script.py
        from helpers import shift
        RESULT = shift(2)
        # job.py
        RESULT = 3
        # executed.py
        def go(x): return x + 4
        # helpers.py
        def shift(x): return x + 5
        # unrelated.py
        X = 1
        """,
        (EXECUTES, "loaded from a path", "shift(x) + 1", "shift(x) + 10"),
        (EXECUTES, "script", "shift(2)", "shift(20)"),
        (EXECUTES, "module that is run", "RESULT = 3", "RESULT = 30"),
        (EXECUTES, "text that is executed", "x + 4", "x + 40"),
        (EXECUTES, "helper of what is loaded", "x + 5", "x + 50"),
        (HITS, "module beside", "X = 1", "X = 2"),
        (
            HITS,
            "comment in a helper of what is loaded",
            "def shift(x): return",
            "def shift(x):  # more\n    return",
        ),
    ),
    project(
        "data of a package, read at import",
        """
        # main.py
        from tasklineage import task
        from pack import settings
        from pack.settings import RATES, limit
        @task
        def run(x): return x * RATES["a"], limit(), settings.OPTIONS.depth, settings.NAMES[0], settings.LINES
        # pack/__init__.py
        # pack/settings.py
        import configparser, csv, importlib.resources, json, pathlib, pkgutil, tomllib, types
        HERE = pathlib.Path(__file__).parent
        RATES = json.loads((HERE / "rates.json").read_text())
        with open(HERE / "conf.toml", "rb") as _file:
            CONF = tomllib.load(_file)
        OPTIONS = types.SimpleNamespace(**CONF["options"])
        PARSER = configparser.ConfigParser()
        PARSER.read(HERE / "conf.ini")
        def limit(): return PARSER.getint("main", "limit")
        NAMES = importlib.resources.files("pack").joinpath("names.txt").read_text().split()
        LINES = list(csv.reader(pkgutil.get_data("pack", "table.csv").decode().splitlines()))
        # pack/rates.json
        {"a": 2, "b": 3}
        # pack/conf.toml
        # of depth
        title = "t"
        [options]
        depth = 4
        # pack/conf.ini
        [main]
        limit = 5
        # pack/names.txt
        one two
        # pack/table.csv
        1,2
        """,
        (EXECUTES, "json", '"a": 2', '"a": 20'),
        (EXECUTES, "toml", "depth = 4", "depth = 40"),
        (EXECUTES, "ini", "limit = 5", "limit = 50"),
        (EXECUTES, "resource", "one two", "two one"),
        (EXECUTES, "pkgutil", "1,2", "1,3"),
        (HITS, "comment in toml", "# of depth", "# of the depth"),
        (HITS, "formatting of json", '{"a": 2, "b": 3}', '{"a": 2,\n "b": 3}'),
        (HITS, "unread part of toml", 'title = "t"', 'title = "u"'),
        (COARSE, "unread key of a dict that is read", '"b": 3', '"b": 4'),
    ),
    project(
        "data of a package, read in the body",
        """
        # main.py
        from tasklineage import task
        from pack import readers
        @task
        def run(x): return readers.rates()["a"], readers.depth(), readers.names(), readers.lines(), readers.optional(), readers.found()
        # pack/__init__.py
        # pack/readers.py
        import csv, importlib.resources, json, pathlib, pkgutil, tomllib
        HERE = pathlib.Path("pack")
        def rates():
            with open(HERE / "rates.json") as file:
                return json.load(file)
        def depth(): return tomllib.loads((HERE / "conf.toml").read_text())["depth"]
        def names(): return importlib.resources.files(__package__).joinpath("names.txt").read_text().split()
        def lines(): return list(csv.reader(pkgutil.get_data("pack", "table.csv").decode().splitlines()))
        def optional():
            try:
                return (HERE / "override.txt").read_text()
            except FileNotFoundError:
                return "none"
        def found(): return sorted(path.name for path in (HERE / "parts").glob("*.txt"))
        # pack/rates.json
        {"a": 2, "b": 3}
        # pack/conf.toml
        depth = 4
        # pack/names.txt
        one two
        # pack/table.csv
        1,2
        # pack/unread.txt
        nothing
        # pack/parts/a.txt
        a
        """,
        (EXECUTES, "json", '"a": 2', '"a": 20'),
        (EXECUTES, "toml", "depth = 4", "depth = 40"),
        (EXECUTES, "resource", "one two", "two one"),
        (EXECUTES, "pkgutil", "1,2", "1,3"),
        (EXECUTES, "file that was not there", {"pack/override.txt": "new"}),
        (EXECUTES, "file that is listed", {"pack/parts/b.txt": "b"}),
        (HITS, "file that is not read", "nothing", "something"),
        (HITS, "file that is added elsewhere", {"pack/b.txt": "b"}),
        (COARSE, "unread part of a file", '"b": 3', '"b": 4'),
    ),
    project(
        "data behind a cache, in a later call",
        """
        # main.py
        from tasklineage import task
        import settings
        @task
        def run(x): return x * settings.rates()["a"], settings.table("first")[0]
        @task
        def alone(x): return x + settings.table("second")[0]
        def answer(): return run(1), run(2), alone(3), alone(4)
        # settings.py
        import functools, json
        @functools.lru_cache
        def rates():
            with open("rates.json") as file:
                return json.load(file)
        @functools.cache
        def table(name):
            with open(f"{name}.txt") as file:
                return [int(word) for word in file.read().split()]
        # rates.json
        {"a": 2}
        # first.txt
        10
        # second.txt
        20
        """,
        (EXECUTES, "file behind lru_cache", '"a": 2', '"a": 20'),
        (EXECUTES, "file behind cache", "10\n", "11\n"),
        (EXECUTES, "file of another task behind the same cache", "20\n", "21\n"),
    ),
    project(
        "data behind a cache, filled at import",
        """
        # main.py
        from tasklineage import task
        import settings
        DEBUG = settings.load().get("debug")
        TABLE = settings.Store.table("a"), settings.Store.table("b")
        @task
        def run(x): return x * settings.load()["scale"], settings.Store.table("a")
        # settings.py
        import functools, json
        @functools.lru_cache(maxsize=None)
        def load():
            with open("settings.json") as file:
                return json.load(file)
        class Store:
            @staticmethod
            @functools.lru_cache(maxsize=8)
            def _table(name):
                with open(f"{name}.txt") as file:
                    return file.read()
            table = _table
        # settings.json
        {"scale": 2, "debug": false}
        # a.txt
        10
        # b.txt
        20
        # c.txt
        30
        """,
        (EXECUTES, "file behind a cache without a limit", '"scale": 2', '"scale": 20'),
        (EXECUTES, "file behind a cache with a limit", "10\n", "11\n"),
        (COARSE, "what was cached and is not read", "20\n", "21\n"),
        (HITS, "what was not cached", "30\n", "31\n"),
        (HITS, "comment", "class Store:", "class Store:  # of tables"),
    ),
]
