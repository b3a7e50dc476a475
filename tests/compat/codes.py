"""Small programs whose code versions are on record, in `codes.json`.

As a script it prints what the interpreter that runs it finds: `portable` digests, which are the
same under all, and the code versions of its own. To record those of a new version of Python, add
them to the file; those that are there never change without another scheme.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

from tasklineage.key.code_version import code_version, portable

GOLDEN = Path(__file__).with_name("codes.json")
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

CONSTANTS = """
math.pi math.inf math.nan string.ascii_letters string.printable stat.S_IFREG logging.INFO
re.IGNORECASE signal.SIGTERM decimal.ROUND_HALF_UP datetime.UTC uuid.NAMESPACE_DNS errno.ENOENT
http.HTTPStatus http.client.responses json.JSONDecodeError collections.OrderedDict functools.reduce
itertools.chain operator.add os.path.join os.sep sys.maxsize sys.version_info typing.TYPE_CHECKING
typing.Any socket.AF_INET calendar.month_name token.NAME numbers.Number fractions.Fraction
textwrap.dedent zlib.Z_BEST_COMPRESSION struct.calcsize pickle.HIGHEST_PROTOCOL keyword.kwlist
html.entities.html5 random.random random.Random statistics.mean builtins.len os.O_RDONLY
sqlite3.PARSE_DECLTYPES csv.QUOTE_ALL enum.auto copy.deepcopy abc.ABC io.DEFAULT_BUFFER_SIZE
codecs.BOM_UTF8 dataclasses.MISSING contextlib.suppress types.SimpleNamespace zipfile.ZIP_DEFLATED
asyncio.FIRST_COMPLETED urllib.parse.uses_netloc heapq.heappush weakref.ref subprocess.PIPE
""".split()

CODE = {
    "plain": "def helper(x): return x + RATE\nRATE = 2\n@task\ndef run(x): return helper(x)",
    "parameters": "@task\ndef run(x, y=1, *rest, z=2, **more): return x, y, rest, z, more",
    "defaults": "def f(a, b=[1], *, c={'k': (1, 2.0)}): return a, b, c\n@task\ndef run(x): return f(x)",
    "closure": "def make(n):\n    def inner(x):\n        nonlocal n\n        n += x\n        return n\n    return inner\nf = make(3)\n@task\ndef run(x): return f(x)",
    "comprehensions": "S = {3, 1}\n@task\ndef run(x): return [a for a in S], {a: b for a, b in zip(S, S)}, {a for a in S}, sum(a for a in S)",
    "class": "class A:\n    n = 1\n    def go(self): return self.n\nclass B(A):\n    @property\n    def p(self): return super().go()\n@task\ndef run(x): return B().p",
    "dataclass": "import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass P:\n    a: int\n    b: list = dataclasses.field(default_factory=list)\n@task\ndef run(x): return P(x)",
    "enumeration": "import enum\nclass C(enum.Enum):\n    A = 1\n    B = 'b'\n    def go(self): return self.value\n@task\ndef run(x): return C.A.go()",
    "named tuple": "import typing\nclass P(typing.NamedTuple):\n    a: int\n    b: int = 2\n@task\ndef run(x): return P(x)",
    "match": "@task\ndef run(x):\n    match x:\n        case {'a': [1, *rest]} if rest: return rest\n        case int() | str(): return x\n        case _: return None",
    "exceptions": "@task\ndef run(x):\n    try:\n        return 1 / x\n    except (ZeroDivisionError, ValueError) as error:\n        return str(error)\n    finally:\n        print(x)",
    "with": "import contextlib\n@contextlib.contextmanager\ndef opened(x):\n    yield x\n@task\ndef run(x):\n    with opened(x) as y:\n        return y",
    "generator": "def g(n):\n    for i in range(n):\n        yield i\n    yield from range(n)\n@task\ndef run(x): return list(g(x))",
    "coroutine": "async def f(x): return x\n@task\nasync def run(x): return [await f(i) for i in range(x)]",
    "decorators": "import functools\ndef deco(n):\n    def d(f):\n        @functools.wraps(f)\n        def w(*a): return f(*a) * n\n        return w\n    return d\n@deco(2)\ndef f(x): return x\n@functools.lru_cache\ndef g(x): return x\n@task\ndef run(x): return f(x), g(x)",
    "partial": "import functools, operator\nadd = functools.partial(operator.add, 2)\n@task\ndef run(x): return add(x)",
    "dispatch": "import functools\n@functools.singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return 1\n@task\ndef run(x): return f(x)",
    "child": "@task\ndef child(x, y=2): return x * y\n@task(version='1')\ndef fixed(x): return x\n@task\ndef run(x): return child(x), fixed(x)",
    "format": "@task\ndef run(x): return f'{x!r:>{x}} {x=}' + '%s' % x",
    "walrus": "@task\ndef run(x): return (n := x + 1) and [m for _ in range(n) if (m := n)]",
    "imports": "@task\ndef run(x):\n    import json\n    from math import sqrt as root\n    return json.dumps(x), root(x)",
    "recursion": "def odd(n): return n and even(n - 1)\ndef even(n): return not n or odd(n - 1)\n@task\ndef run(x): return odd(x)",
    "constants": "import re, datetime, decimal, pathlib\nC = (1, 2.5, 'a', b'b', None, True, re.compile('a'), datetime.date(2024, 1, 2), decimal.Decimal('1.0'), pathlib.PurePosixPath('a'), {'k': [1]})\n@task\ndef run(x): return C",
    "abstract": "import abc\nclass A(abc.ABC):\n    @abc.abstractmethod\n    def go(self): ...\nclass B: pass\nA.register(B)\n@task\ndef run(x): return isinstance(B(), A)",
}


def programs() -> dict[str, str]:
    """The text of the main module by name."""
    reads = {
        name: f"import {name.rpartition('.')[0]}\n@task\ndef run(x): return {name}"
        for name in CONSTANTS
    }
    return {
        name: f"from tasklineage import task\n{text}\n" for name, text in (CODE | reads).items()
    }


def found() -> dict[str, dict[str, str]]:
    """What this interpreter finds."""
    codes: dict[str, str] = {}
    portables: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for number, (name, text) in enumerate(programs().items()):
            module = f"recorded_code_{number}"
            Path(folder, f"{module}.py").write_text(text, "utf-8")
            importlib.invalidate_caches()
            code = code_version(importlib.import_module(module).run)
            codes[name] = code.digest.hex()
            portables[name] = portable(code)[:16].hex()
            del sys.modules[module]
        sys.path.remove(folder)
    return {"portable": portables, VERSION: codes}


if __name__ == "__main__":
    os.environ.pop("TASKLINEAGE_DISABLE", None)
    print(json.dumps(found()))
