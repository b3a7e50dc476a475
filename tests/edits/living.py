"""Edits around a running process: files edited and reloaded, globals set, data, patches."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "edited after import",
        """
        # main.py
        import os, pathlib
        from tasklineage import task
        import helpers
        EDIT = True
        if EDIT: pathlib.Path("helpers.py").write_text("def go(x): return x + 2\\ndef rest(x): return x\\n")
        @task
        def run(x): return helpers.go(x)
        # helpers.py
        def go(x): return x + 1
        def rest(x): return x
        """,
        (EXECUTES, "the new text imported", "def go(x): return x + 1", "def go(x): return x + 2", "EDIT = True", "EDIT = False"),
        (HITS, "the old text, not edited any more", "EDIT = True", "EDIT = False"),
        (HITS, "comment", "def go(x): return x + 1", "# go\ndef go(x): return x + 1"),
    ),
    project(
        "reloaded in the process",
        """
        # main.py
        import importlib, pathlib
        from tasklineage import task
        import helpers
        from helpers import go as early
        TEXT = "def go(x): return x + 2\\n"
        @task
        def run(x): return helpers.go(x), early(x)
        def answer():
            first = run(3)
            pathlib.Path("helpers.py").write_text(TEXT)
            importlib.reload(helpers)
            return first, run(3)
        # helpers.py
        def go(x): return x + 1
        """,
        (EXECUTES, "text that is loaded later", "x + 2", "x + 20"),
        (EXECUTES, "text that is loaded first", "x + 1", "x + 10"),
        (HITS, "comment in the later text", "x + 2\\n", "x + 2  # two\\n"),
    ),
    project(
        "globals set between calls",
        """
        # main.py
        from tasklineage import task
        import config
        from state import State, register, HOOKS
        SECOND = 5
        state = State()
        @task
        def run(x): return config.LEVEL * x, state.mode, [h(x) for h in HOOKS], helper(x)
        def helper(x): return x + 1
        def answer():
            out = [run(1)]
            config.LEVEL = SECOND
            out.append(run(1))
            state.mode = "late"
            out.append(run(1))
            register(lambda v: v + 100)
            out.append(run(1))
            global helper
            def helper(x): return x + 7
            out.append(run(1))
            config.LEVEL = 2
            out.append(run(1))
            return out
        # config.py
        LEVEL = 2
        OTHER = 3
        # state.py
        HOOKS = []
        class State:
            mode = "early"
            def __init__(self): self.n = 0
        def register(f): HOOKS.append(f)
        """,
        (EXECUTES, "first value", "LEVEL = 2\nOTHER", "LEVEL = 3\nOTHER"),
        (EXECUTES, "second value", "SECOND = 5", "SECOND = 6"),
        (EXECUTES, "mode", '"early"', '"soon"'),
        (EXECUTES, "late mode", '"late"', '"later"'),
        (EXECUTES, "hook", "v + 100", "v + 200"),
        (EXECUTES, "second helper", "x + 7", "x + 8"),
        (EXECUTES, "first helper", "x + 1", "x + 2"),
        (HITS, "other", "OTHER = 3", "OTHER = 4"),
        (HITS, "comment", "HOOKS = []", "HOOKS = []  # none"),
    ),
    project(
        "data files of all kinds",
        """
        # main.py
        import pathlib
        from tasklineage import task
        import store
        from store import TABLE, cached, Loader
        LOADER = Loader("d.json")
        @task
        def run(x): return TABLE["k"], cached("b.txt"), LOADER.value(), store.frame(), store.matrix(), store.walked(), store.lines()
        # store.py
        import csv, functools, json, pathlib, os, glob
        import numpy as np, pandas as pd
        TABLE = json.load(open("a.json"))
        @functools.lru_cache
        def cached(name): return pathlib.Path(name).read_text().strip()
        class Loader:
            def __init__(self, name): self.name = name
            @functools.cached_property
            def data(self): return json.loads(pathlib.Path(self.name).read_text())
            def value(self): return self.data["v"]
        def frame(): return pd.read_csv("f.csv").sum().tolist()
        def matrix(): return np.loadtxt("g.txt").sum()
        def walked(): return sorted(name for _, _, names in os.walk("parts") for name in names)
        def lines(): return [sum(1 for _ in open(p)) for p in sorted(glob.glob("parts/*.txt"))]
        # a.json
        {"k": 1, "z": 0}
        # b.txt
        b1
        # d.json
        {"v": 1}
        # f.csv
        a,b
        1,2
        # g.txt
        1 2
        # parts/h.txt
        h
        # parts/i.csv
        i
        # unread.txt
        u1
        """,
        (EXECUTES, "json at import", '"k": 1', '"k": 2'),
        (EXECUTES, "behind a cache", "b1", "b2"),
        (EXECUTES, "behind a cached property", '"v": 1', '"v": 2'),
        (EXECUTES, "read by pandas", "1,2", "1,3"),
        (EXECUTES, "read by numpy", "1 2\n", "1 4\n"),
        (EXECUTES, "file added", {"parts/j.txt": "j"}),
        (EXECUTES, "lines", {"parts/h.txt": "h\nh\n"}),
        (HITS, "unread file", "u1", "u2"),
        (COARSE, "unread key", '"z": 0', '"z": 9'),
        (HITS, "file that is only listed", {"parts/i.csv": "ii"}),
    ),
    project(
        "databases and archives",
        """
        # main.py
        import pathlib, sqlite3, zipfile, tarfile, gzip, io, shelve, dbm, mmap, bz2, lzma, pickle, configparser, os
        from tasklineage import task
        TEXT = "one"
        RAW = "two"
        PACKED = "three"
        def fill():
            if not pathlib.Path("a.db").exists():
                with sqlite3.connect("a.db") as db:
                    db.execute("create table t (v)")
                    db.execute("insert into t values (?)", [TEXT])
            with zipfile.ZipFile("a.zip", "w") as z: z.writestr(zipfile.ZipInfo("x"), RAW)
            with gzip.GzipFile("a.gz", "wb", mtime=0) as f: f.write(PACKED.encode())
        fill()
        def rows(): return sqlite3.connect("a.db").execute("select v from t").fetchall()
        def uri(): return sqlite3.connect("file:a.db?mode=ro", uri=True).execute("select v from t").fetchall()
        def zipped(): return zipfile.ZipFile("a.zip").read("x")
        def gzipped(): return gzip.open("a.gz").read()
        @task
        def run(x): return rows(), uri(), zipped(), gzipped()
        """,
        (EXECUTES, "database", '"one"', '"uno"'),
        (EXECUTES, "zip", '"two"', '"duo"'),
        (EXECUTES, "gzip", '"three"', '"tre"'),
    ),
    project(
        "monkeypatching",
        """
        # main.py
        from tasklineage import task
        import patches
        import json, math, statistics, textwrap, collections, os.path, string
        import numpy as np
        import pandas as pd
        from unittest import mock
        import steps
        @task
        def run(x):
            with mock.patch.object(steps, "inner", lambda v: v + 50): mocked = steps.outer(x)
            return (statistics.mean([1, 2]), textwrap.shorten("a b", 10), json.dumps({1}), mocked, steps.outer(x), pd.Series([1]).shout(), np.tripled(2),
                    collections.Counter("ab").label(), string.Formatter().format("{}", 1), math.tau)
        # patches.py
        import json, statistics, textwrap, collections, string, math
        import numpy as np
        import pandas as pd
        _mean = statistics.mean
        def mean(v): return _mean(v) + 10
        statistics.mean = mean
        textwrap.shorten = lambda *a, **k: "short"
        def default(self, o): return ["patched", sorted(o)]
        json.JSONEncoder.default = default
        @pd.api.extensions.register_series_accessor("shout")
        class Shout:
            def __init__(self, s): self.s = s
            def __call__(self): return self.s.sum() + 20
        np.tripled = lambda v: v * 3
        class Labelled:
            def label(self): return "label" + str(len(self))
        collections.Counter.label = Labelled.label
        _old = string.Formatter.get_value
        def get_value(self, *a): return _old(self, *a) + 30
        string.Formatter.get_value = get_value
        math.tau = 6
        def unused(): return 1
        # steps.py
        def outer(x): return inner(x) * 2
        def inner(x): return x + 1
        """,
        (EXECUTES, "library function", "_mean(v) + 10", "_mean(v) + 11"),
        (EXECUTES, "lambda", '"short"', '"shorter"'),
        (EXECUTES, "method of a library class", '"patched"', '"Patched"'),
        (EXECUTES, "pandas accessor", "self.s.sum() + 20", "self.s.sum() + 21"),
        (EXECUTES, "function of numpy", "v * 3", "v * 4"),
        (EXECUTES, "method borrowed", '"label"', '"LABEL"'),
        (EXECUTES, "method around a method", "+ 30", "+ 31"),
        (EXECUTES, "number of a module", "math.tau = 6", "math.tau = 7"),
        (EXECUTES, "mocked inside", "v + 50", "v + 51"),
        (EXECUTES, "what is mocked", "x + 1\n", "x + 2\n"),
        (HITS, "unused", "def unused(): return 1", "def unused(): return 2"),
        (HITS, "comment", "class Labelled:", "class Labelled:  # l"),
    ),
]
