"""Edits beside globals that change: written, counted in, filled at import, filled by others."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "sinks",
        """
        import collections, itertools, logging, threading
        LOG = ["start"]
        COUNTS = collections.Counter()
        SEEN = set()
        TOTAL = 0
        LAST = None
        CACHE = {"warm": 1}
        lock = threading.RLock()
        log = logging.getLogger(__name__)
        class Stats:
            calls = 0
        def note(x):
            global TOTAL, LAST
            with lock:
                LOG.append(x)
                COUNTS[x] += 1
                SEEN.add(x)
                TOTAL += 1
                LAST = x
                CACHE["last"] = x
                log.info("noted %s", x)

        @task
        def run(x):
            note(x)
            return x * 2
        """,
        (HITS, "list appended to", '["start"]', '["begin"]'),
        (HITS, "counter", "collections.Counter()", 'collections.Counter("ab")'),
        (HITS, "set added to", "SEEN = set()", "SEEN = {9}"),
        (HITS, "number counted up", "TOTAL = 0", "TOTAL = 7"),
        (HITS, "name assigned", "LAST = None", "LAST = 5"),
        (HITS, "dict assigned to", '{"warm": 1}', '{"cold": 1}'),
        (HITS, "unused class", "calls = 0", "calls = 1"),
        (COARSE, "what is logged", '"noted %s"', '"saw %s"'),
        (EXECUTES, "result", "x * 2", "x * 3"),
    ),
    project(
        "filled at import",
        """
        # main.py
        from tasklineage import task
        import registry, handlers
        from registry import HANDLERS, ORDER
        @task
        def run(x):
            return [(name, HANDLERS[name](x)) for name in ORDER], registry.FROZEN
        # registry.py
        HANDLERS, ORDER, UNREAD = {}, [], {}
        def register(name, priority=0):
            def decorate(function):
                HANDLERS[name] = function
                ORDER.append(name)
                UNREAD[name] = priority
                return function
            return decorate
        FROZEN = (1, 2)
        # handlers.py
        from registry import register
        @register("a")
        def a(x): return x + 1
        @register("b", priority=5)
        def b(x): return helper(x)
        def helper(x): return x + 2
        def unused(x): return x
        """,
        (EXECUTES, "handler", "x + 1", "x + 10"),
        (EXECUTES, "helper of a handler", "x + 2", "x + 20"),
        (EXECUTES, "name of a handler", '"b", priority', '"c", priority'),
        (EXECUTES, "handler added", "def unused(x): return x", "@register('z')\ndef unused(x): return x"),
        (EXECUTES, "order of handlers", '@register("a")\ndef a(x): return x + 1\n', "",
         "def helper", '@register("a")\ndef a(x): return x + 1\ndef helper'),
        (EXECUTES, "tuple beside", "(1, 2)", "(1, 3)"),
        (HITS, "priority that nobody reads", "priority=5", "priority=6"),
        (HITS, "default of the decorator that nobody reads", "priority=0", "priority=1"),
        (HITS, "unused function", "def unused(x): return x", "def unused(x): return -x"),
        (HITS, "function renamed behind its handler", "def a(x)", "def first(x)"),
        (HITS, "comment", "from registry import register\n", "from registry import register  # us\n"),
    ),
    project(
        "changed by the code",
        """
        X = 1
        TABLE = {}
        def prepare():
            global X
            X = 5
        def look(): return X
        def remember(k, v):
            if k not in CACHE:
                CACHE[k] = v * FACTOR
            return CACHE[k]
        FACTOR = 2
        def fill(n):
            found = {}
            for i in range(n): found[i] = i * FACTOR
            return found
        @task
        def run(x):
            CACHE_ = fill(x)
            return look(), CACHE_
        """.replace("CACHE[k]", "TABLE[k]").replace("in CACHE:", "in TABLE:"),
        (EXECUTES, "global that is read", "X = 1\n", "X = 2\n"),
        (EXECUTES, "factor", "FACTOR = 2", "FACTOR = 3"),
        (HITS, "function that nobody calls and that writes", "X = 5", "X = 6"),
        (HITS, "cache of a function that nobody calls", "TABLE = {}", "TABLE = {1: 1}"),
    ),
    project(
        "overwritten at import",
        """
        # main.py
        from tasklineage import task
        import config
        config.LEVEL = 2
        config.update(MODE="b")
        from config import LEVEL
        LIMITS = [1, 2]
        LIMITS += [3]
        LIMITS.append(4)
        for _extra in (5, 6):
            LIMITS.append(_extra)
        TABLE = {}
        TABLE.update(a=1)
        def helper(x): return x
        if config.SWITCH:
            def helper(x): return x + 1
        class K: pass
        K.extra = 7
        K.method = lambda self: 8
        helper.attribute = 9
        @task
        def run(x):
            return LEVEL, config.MODE, LIMITS, TABLE, helper(x), K.extra, K().method(), helper.attribute
        # config.py
        LEVEL = 1
        MODE = "a"
        SWITCH = True
        def update(**values): globals().update(values)
        """,
        (HITS, "value that is overwritten", "LEVEL = 1\n", "LEVEL = 3\n"),
        (HITS, "text that is overwritten", 'MODE = "a"', 'MODE = "c"'),
        (EXECUTES, "overwriting value", "config.LEVEL = 2", "config.LEVEL = 4"),
        (EXECUTES, "overwriting text", 'MODE="b"', 'MODE="d"'),
        (EXECUTES, "appended", "LIMITS.append(4)", "LIMITS.append(40)"),
        (EXECUTES, "appended in a loop", "(5, 6)", "(5, 7)"),
        (EXECUTES, "added", "LIMITS += [3]", "LIMITS += [30]"),
        (EXECUTES, "updated", "update(a=1)", "update(a=2)"),
        (EXECUTES, "switch", "SWITCH = True", "SWITCH = False"),
        (EXECUTES, "class attribute from outside", "K.extra = 7", "K.extra = 70"),
        (EXECUTES, "method from outside", "self: 8", "self: 80"),
        (EXECUTES, "attribute of a function", "helper.attribute = 9", "helper.attribute = 90"),
        (HITS, "loop variable", "for _extra in (5, 6):\n    LIMITS.append(_extra)", "for _more in (5, 6):\n    LIMITS.append(_more)"),
        (HITS, "written at once", "LIMITS = [1, 2]\nLIMITS += [3]", "LIMITS = [1, 2, 3]"),
        (HITS, "how the table is filled", "TABLE.update(a=1)", "TABLE['a'] = 1"),
    ),
]
