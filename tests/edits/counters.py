"""Edits of state that code writes and never reads: counters, statistics, records of calls."""

from __future__ import annotations

from tests.edits.cases import COARSE, EXECUTES, HITS, project

PROJECTS = [
    project(
        "counted in classes",
        """
        import functools
        class Stats:
            calls = 0
            total = 0.0
            last = None
            title = "stats"
            @classmethod
            def note(cls, x):
                cls.calls += 1
                cls.total = cls.total + x
                cls.last = x
        class Model:
            made = 0
            size = 5
            def __init__(self): Model.made += 1
            def area(self): return self.size
        def helper(x):
            Stats.note(x)
            Stats.calls += 2
            return x + 1
        @task
        def run(x): return helper(x), Model().area(), Stats.title
        def answer(): return run(3), run(4), run(5)
        """,
        (HITS, "counter", "calls = 0", "calls = 7"),
        (HITS, "sum", "total = 0.0", "total = 1.5"),
        (HITS, "counter of instances", "made = 0", "made = 3"),
        (HITS, "comment", "last = None", "last = None  # nothing yet"),
        (EXECUTES, "attribute that is read", 'title = "stats"', 'title = "numbers"'),
        (EXECUTES, "attribute of an instance that is read", "size = 5", "size = 6"),
        (COARSE, "what is counted", "cls.calls += 1", "cls.calls += 3"),
        (HITS, "counter of another type of number", "calls = 0", "calls = 0.5"),
        (EXECUTES, "counter that is no number", "last = None", "last = None\n    calls = ()"),
        (EXECUTES, "result", "x + 1", "x + 2"),
    ),
    project(
        "counted in classes and read",
        """
        class Stats:
            calls = 0
            lost = 0
            named = 0
            shown = 0
        class Other:
            kept = 0
        FORMAT = "{0.named}"
        def count():
            Stats.calls += 1
            Stats.lost += 1
            Stats.named += 1
            Stats.shown += 1
            Other.kept += 1
        def look():
            kept = [v for k, v in vars(Other).items() if k == "kept"]
            return Stats.calls, getattr(Stats, "lost"), FORMAT.format(Stats), f"{Stats.shown}", kept
        @task
        def run(x):
            found = look()
            count()
            return found
        """,
        (EXECUTES, "by its attribute", "calls = 0", "calls = 5"),
        (EXECUTES, "by getattr", "lost = 0", "lost = 5"),
        (EXECUTES, "by a format", "named = 0", "named = 5"),
        (EXECUTES, "by an f-string", "shown = 0", "shown = 5"),
        (EXECUTES, "by vars", "kept = 0", "kept = 5"),
        is_memo=False,
    ),
    project(
        "counted and read by others",
        """
        import copy, operator, string
        class Stats:
            first = 0
            def __getattr__(self, name): return 7
        class Getter:
            second = 0
            look = property(operator.attrgetter("second"))
        class Matched:
            __match_args__ = ("third",)
            third = 0
        class Named:
            fourth = 0
            def look(self): return operator.attrgetter(NAME)(self)
        NAME = "fourth"
        class Passed:
            fifth = 0
        def count():
            Stats.first += 1
            Getter.second += 1
            Matched.third += 1
            Named.fourth += 1
            Passed.fifth += 1
        def look():
            match Matched():
                case Matched(found): pass
            return Getter().look, found, Named().look(), eval("Passed.fi" "fth"), Stats().first
        @task
        def run(x):
            found = look()
            count()
            return found
        """,
        (EXECUTES, "by __getattr__", "first = 0", "first = 5"),
        (EXECUTES, "by a getter of operator", "second = 0", "second = 5"),
        (EXECUTES, "by a pattern", "third = 0", "third = 5"),
        (EXECUTES, "by a name in a global", "fourth = 0", "fourth = 5"),
        (EXECUTES, "by eval", "fifth = 0", "fifth = 5"),
        is_memo=False,
    ),
    project(
        "counted in functions",
        """
        import functools
        def counted(function):
            @functools.wraps(function)
            def wrapper(*args):
                wrapper.calls += 1
                wrapper.last = args
                return function(*args)
            wrapper.calls = 0
            wrapper.last = None
            return wrapper
        @counted
        def first(x): return x + 1
        def second(x):
            second.calls += 1
            return x + 2 + second.offset
        second.calls = 10
        second.offset = 0
        @task
        def run(x): return first(x), second(x)
        def answer(): return run(3), run(4)
        """,
        (HITS, "counter of a wrapper", "wrapper.calls = 0", "wrapper.calls = 5"),
        (HITS, "counter of a function", "second.calls = 10", "second.calls = 11"),
        (EXECUTES, "attribute that is read", "second.offset = 0", "second.offset = 1"),
        (EXECUTES, "wrapped", "x + 1", "x + 11"),
        (EXECUTES, "function", "x + 2 +", "x + 22 +"),
    ),
    project(
        "counted in functions and read",
        """
        def helper(x):
            helper.calls += 1
            return x + helper.calls
        helper.calls = 0
        @task
        def run(x): return helper(x)
        """,
        (EXECUTES, "counter", "helper.calls = 0", "helper.calls = 5"),
        (EXECUTES, "function", "x + helper.calls", "x - helper.calls"),
        is_memo=False,
    ),
    project(
        "counted in instances",
        """
        class Counter:
            unit = "calls"
            hits = 0
            def __init__(self, start=0, limit=9):
                self.n, self.limit = start, limit
                self.seen = None
            def hit(self, x):
                self.n += 1
                self.hits += 1
                self.seen = x
                return self.limit
        class Bare:
            n = 0
            def hit(self): self.n += 1
        BARE = Bare()
        COUNTER = Counter()
        OTHER = Counter(limit=8)
        def helper(x):
            COUNTER.hit(x)
            BARE.hit()
            OTHER.n += 1
            return x + COUNTER.limit
        @task
        def run(x): return helper(x), OTHER.hit(x), COUNTER.unit
        def answer(): return run(3), run(4)
        """,
        (HITS, "start of a counter", "COUNTER = Counter()", "COUNTER = Counter(5)"),
        (HITS, "comment", "COUNTER = Counter()", "COUNTER = Counter()  # of all"),
        (HITS, "counter that only the class has", "    n = 0", "    n = 7"),
        (HITS, "counter that the class begins", "hits = 0", "hits = 4"),
        (EXECUTES, "attribute that is read", "limit=9", "limit=7"),
        (EXECUTES, "attribute of another", "limit=8", "limit=6"),
        (EXECUTES, "attribute of the class", 'unit = "calls"', 'unit = "times"'),
    ),
    project(
        "counted in instances and read",
        """
        import copy, dataclasses, json
        class Counter:
            def __init__(self): self.n = 0
            def hit(self): self.n += 1
        class Whole(Counter):
            def hit(self):
                self.n += 1
                return self
        @dataclasses.dataclass
        class Record:
            n: int = 0
            def hit(self): self.n += 1
        ONE, TWO, THREE, FOUR, FIVE = Counter(), Counter(), Whole(), Record(), Counter()
        TABLE = {"five": FIVE}
        def before(): return ONE.n, json.dumps(vars(TWO)), THREE.hit().n, repr(FOUR), TABLE["five"].n
        def after():
            for one in (ONE, TWO, THREE, FOUR, FIVE): one.hit()
        @task
        def run(x):
            found = before()
            after()
            return found
        ONE.n = 1
        TWO.n = 2
        THREE.n = 3
        FOUR.n = 4
        FIVE.n = 5
        """,
        (EXECUTES, "by its attribute", "ONE.n = 1", "ONE.n = 10"),
        (EXECUTES, "by vars", "TWO.n = 2", "TWO.n = 20"),
        (EXECUTES, "by what a method returns", "THREE.n = 3", "THREE.n = 30"),
        (EXECUTES, "by a generated repr", "FOUR.n = 4", "FOUR.n = 40"),
        (EXECUTES, "in a container", "FIVE.n = 5", "FIVE.n = 50"),
        is_memo=False,
    ),
    project(
        "an instance that is counted in and returned",
        """
        class Counter:
            def __init__(self, n): self.n = n
            def hit(self): self.n += 1
            def __repr__(self): return "counter"
        COUNTER = Counter(1)
        @task
        def run(x):
            COUNTER.hit()
            return COUNTER
        def answer(): return vars(run(3))
        """,
        (EXECUTES, "start", "Counter(1)", "Counter(2)"),
        is_memo=False,
    ),
    project(
        "records in dicts",
        """
        import collections
        CALLS = {"x": [], "y": {}}
        GROUPS = collections.defaultdict(list)
        COUNTS = collections.defaultdict(int)
        def note(x):
            CALLS["x"].append(x)
            CALLS["y"][x] = 1
            GROUPS[x % 2].append(x)
            COUNTS[x] += 1
        @task
        def run(x):
            note(x)
            return x + 1
        def answer(): return run(3), run(4)
        """,
        (HITS, "list in a dict", '"x": []', '"x": [0]'),
        (HITS, "dict in a dict", '"y": {}', '"y": {0: 1}'),
        (HITS, "groups", "defaultdict(list)", "defaultdict(list, {0: [2]})"),
        (EXECUTES, "result", "x + 1", "x + 2"),
    ),
    project(
        "records in dicts that are read",
        """
        CALLS = {"x": [], "y": []}
        def note(x):
            CALLS["x"].append(x)
            return len(CALLS["y"])
        @task
        def run(x):
            return note(x), x
        """,
        (EXECUTES, "what is read", '"y": []', '"y": [1]'),
        (COARSE, "what is written", '"x": []', '"x": [1]'),
        is_memo=False,
    ),
]
