"""Edits of values with content of many kinds, and of modules of networks."""

from __future__ import annotations

from tests.edits.cases import EXECUTES, HITS, project

PROJECTS = [
    project(
        "more constants",
        """
        # main.py
        from tasklineage import task
        import datetime as dt, enum, types, itertools, functools, collections, dataclasses, decimal, operator, re, pathlib, typing, zoneinfo, fractions, ipaddress, struct, string, textwrap, uuid, math, array, heapq, http, socket, ssl, signal, calendar, locale, statistics, inspect, ast, weakref, contextlib, hashlib, secrets, email.message, urllib.parse, graphlib
        C0 = {frozenset({1, 2}): 'a'}
        C1 = ((1, (2, (3,))),)
        C2 = [True, False]
        C3 = http.HTTPStatus.OK
        C4 = signal.SIGTERM
        C5 = float('nan')
        C6 = (float('nan'), 1)
        C7 = 5e-324
        C8 = urllib.parse.urlparse('http://a/b')
        C9 = statistics.linear_regression([1, 2], [3, 4])
        C10 = dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))
        C11 = dt.datetime(2024, 10, 27, 2, 30, fold=0)
        C12 = dt.time(1, 2)
        C13 = dt.timezone(dt.timedelta(hours=1))
        C14 = re.compile(b'a')
        C15 = pathlib.PureWindowsPath('a/b')
        C16 = types.SimpleNamespace(a=types.SimpleNamespace(b=[1]))
        C17 = [collections.OrderedDict([('a', 1)])]
        C18 = collections.defaultdict(int, a=1)
        C19 = collections.UserDict(a=1)
        C20 = collections.UserString('a')
        C21 = typing.Callable[[int], str]
        C22 = typing.Literal['a', 'b']
        C23 = operator.attrgetter('a.b')
        C24 = operator.itemgetter(1, 2)
        C25 = operator.methodcaller('f', 1, k=2)
        C26 = functools.partial(int, base=2)
        C27 = collections.ChainMap({'a': 1}, {'a': 2})
        C28 = ipaddress.ip_network('10.0.0.0/8')
        C29 = ExceptionGroup('g', [ValueError(1)])
        C30 = {None: 1, (): 2}
        C31 = '\\ud800'
        C32 = 'a\\0b'
        C33 = '\\u00e9'
        C34 = -(1 << 500)
        C35 = textwrap.dedent(' a')
        C36 = type(None)
        C37 = dict.fromkeys
        C38 = str.join
        C39 = [3].__len__()
        C40 = []
        C41 = set()
        C42 = {}
        C43 = ''
        C44 = sorted(email.message_from_string('A: 1').items())
        C45 = ast.dump(ast.parse('a + 1'))
        C46 = hashlib.sha256(b'a').hexdigest()
        def shown(v): return v.__qualname__ if isinstance(v, types.BuiltinFunctionType) else repr(v)
        @task
        def run(x): return [shown(C0), shown(C1), shown(C2), shown(C3), shown(C4), shown(C5), shown(C6), shown(C7), shown(C8), shown(C9), shown(C10), shown(C11), shown(C12), shown(C13), shown(C14), shown(C15), shown(C16), shown(C17), shown(C18), shown(C19), shown(C20), shown(C21), shown(C22), shown(C23), shown(C24), shown(C25), shown(C26), shown(C27), shown(C28), shown(C29), shown(C30), shown(C31), shown(C32), shown(C33), shown(C34), shown(C35), shown(C36), shown(C37), shown(C38), shown(C39), shown(C40), shown(C41), shown(C42), shown(C43), shown(C44), shown(C45), shown(C46)]
        """,
        (EXECUTES, "frozen set in dict 0", "C0 = {frozenset({1, 2}): 'a'}\n", "C0 = {frozenset({1, 3}): 'a'}\n"),
        (HITS, "frozen set in dict 0 same", "C0 = {frozenset({1, 2}): 'a'}\n", "C0 = {frozenset({2, 1}): 'a'}\n"),
        (EXECUTES, "nested tuple 1", "C1 = ((1, (2, (3,))),)\n", "C1 = ((1, (2, (4,))),)\n"),
        (EXECUTES, "bool in list 2", "C2 = [True, False]\n", "C2 = [1, 0]\n"),
        (EXECUTES, "str subclass member 3", "C3 = http.HTTPStatus.OK\n", "C3 = http.HTTPStatus.CREATED\n"),
        (HITS, "str subclass member 3 same", "C3 = http.HTTPStatus.OK\n", "C3 = http.HTTPStatus(200)\n"),
        (EXECUTES, "signal 4", "C4 = signal.SIGTERM\n", "C4 = signal.SIGINT\n"),
        (EXECUTES, "nan 5", "C5 = float('nan')\n", "C5 = 0.0\n"),
        (HITS, "nan 5 same", "C5 = float('nan')\n", "C5 = math.nan\n"),
        (EXECUTES, "negative nan pair 6", "C6 = (float('nan'), 1)\n", "C6 = (float('nan'), 2)\n"),
        (EXECUTES, "tiny 7", "C7 = 5e-324\n", "C7 = 0.0\n"),
        (EXECUTES, "url 8", "C8 = urllib.parse.urlparse('http://a/b')\n", "C8 = urllib.parse.urlparse('http://a/c')\n"),
        (EXECUTES, "stdlib namedtuple 9", "C9 = statistics.linear_regression([1, 2], [3, 4])\n", "C9 = statistics.linear_regression([1, 2], [3, 5])\n"),
        (EXECUTES, "aware datetime 10", "C10 = dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin'))\n", "C10 = dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris'))\n"),
        (EXECUTES, "fold 11", "C11 = dt.datetime(2024, 10, 27, 2, 30, fold=0)\n", "C11 = dt.datetime(2024, 10, 27, 2, 30, fold=1)\n"),
        (EXECUTES, "time 12", "C12 = dt.time(1, 2)\n", "C12 = dt.time(1, 3)\n"),
        (EXECUTES, "offset 13", "C13 = dt.timezone(dt.timedelta(hours=1))\n", "C13 = dt.timezone(dt.timedelta(hours=2))\n"),
        (EXECUTES, "bytes regex 14", "C14 = re.compile(b'a')\n", "C14 = re.compile(b'b')\n"),
        (EXECUTES, "windows path 15", "C15 = pathlib.PureWindowsPath('a/b')\n", "C15 = pathlib.PurePosixPath('a/b')\n"),
        (EXECUTES, "simple namespace nested 16", "C16 = types.SimpleNamespace(a=types.SimpleNamespace(b=[1]))\n", "C16 = types.SimpleNamespace(a=types.SimpleNamespace(b=[2]))\n"),
        (EXECUTES, "ordered in a list 17", "C17 = [collections.OrderedDict([('a', 1)])]\n", "C17 = [{'a': 1}]\n"),
        (EXECUTES, "defaultdict content 18", "C18 = collections.defaultdict(int, a=1)\n", "C18 = collections.defaultdict(int, a=2)\n"),
        (EXECUTES, "userdict 19", "C19 = collections.UserDict(a=1)\n", "C19 = collections.UserDict(a=2)\n"),
        (EXECUTES, "userstring 20", "C20 = collections.UserString('a')\n", "C20 = collections.UserString('b')\n"),
        (EXECUTES, "callable alias 21", "C21 = typing.Callable[[int], str]\n", "C21 = typing.Callable[[str], str]\n"),
        (EXECUTES, "literal 22", "C22 = typing.Literal['a', 'b']\n", "C22 = typing.Literal['a', 'c']\n"),
        (EXECUTES, "attrgetter 23", "C23 = operator.attrgetter('a.b')\n", "C23 = operator.attrgetter('a.c')\n"),
        (EXECUTES, "itemgetter 24", "C24 = operator.itemgetter(1, 2)\n", "C24 = operator.itemgetter(2, 1)\n"),
        (EXECUTES, "methodcaller 25", "C25 = operator.methodcaller('f', 1, k=2)\n", "C25 = operator.methodcaller('f', 1, k=3)\n"),
        (EXECUTES, "partial kw 26", "C26 = functools.partial(int, base=2)\n", "C26 = functools.partial(int, base=8)\n"),
        (EXECUTES, "chain map 27", "C27 = collections.ChainMap({'a': 1}, {'a': 2})\n", "C27 = collections.ChainMap({'a': 2}, {'a': 2})\n"),
        (EXECUTES, "network 28", "C28 = ipaddress.ip_network('10.0.0.0/8')\n", "C28 = ipaddress.ip_network('10.0.0.0/9')\n"),
        (EXECUTES, "exception tree 29", "C29 = ExceptionGroup('g', [ValueError(1)])\n", "C29 = ExceptionGroup('g', [ValueError(2)])\n"),
        (EXECUTES, "dict with None keys 30", "C30 = {None: 1, (): 2}\n", "C30 = {None: 1, (): 3}\n"),
        (EXECUTES, "surrogate 31", "C31 = '\\ud800'\n", "C31 = '\\ud801'\n"),
        (EXECUTES, "null text 32", "C32 = 'a\\0b'\n", "C32 = 'a\\0c'\n"),
        (EXECUTES, "normal forms 33", "C33 = '\\u00e9'\n", "C33 = 'e\\u0301'\n"),
        (EXECUTES, "huge int 34", "C34 = -(1 << 500)\n", "C34 = -(1 << 500) + 1\n"),
        (HITS, "huge int 34 same", "C34 = -(1 << 500)\n", "C34 = -(2 ** 500)\n"),
        (EXECUTES, "text of a template 35", "C35 = textwrap.dedent(' a')\n", "C35 = textwrap.dedent(' b')\n"),
        (HITS, "text of a template 35 same", "C35 = textwrap.dedent(' a')\n", "C35 = 'a'\n"),
        (EXECUTES, "default type 36", "C36 = type(None)\n", "C36 = type(...)\n"),
        (EXECUTES, "class method of a builtin 37", "C37 = dict.fromkeys\n", "C37 = bytes.fromhex\n"),
        (EXECUTES, "slot wrapper 38", "C38 = str.join\n", "C38 = str.split\n"),
        (EXECUTES, "bound builtin 39", "C39 = [3].__len__()\n", "C39 = [3, 4].__len__()\n"),
        (HITS, "bound builtin 39 same", "C39 = [3].__len__()\n", "C39 = 1\n"),
        (EXECUTES, "empty of types 40", "C40 = []\n", "C40 = ()\n"),
        (HITS, "empty of types 40 same", "C40 = []\n", "C40 = list()\n"),
        (EXECUTES, "empty set 41", "C41 = set()\n", "C41 = frozenset()\n"),
        (EXECUTES, "empty dict 42", "C42 = {}\n", "C42 = collections.OrderedDict()\n"),
        (HITS, "empty dict 42 same", "C42 = {}\n", "C42 = dict()\n"),
        (EXECUTES, "empty text 43", "C43 = ''\n", "C43 = b''\n"),
        (HITS, "empty text 43 same", "C43 = ''\n", "C43 = str()\n"),
        (EXECUTES, "message 44", "C44 = sorted(email.message_from_string('A: 1').items())\n", "C44 = sorted(email.message_from_string('A: 2').items())\n"),
        (EXECUTES, "syntax tree 45", "C45 = ast.dump(ast.parse('a + 1'))\n", "C45 = ast.dump(ast.parse('a + 2'))\n"),
        (EXECUTES, "hash 46", "C46 = hashlib.sha256(b'a').hexdigest()\n", "C46 = hashlib.sha256(b'b').hexdigest()\n"),
    ),
    project(
        "objects with content",
        """
        # main.py
        from tasklineage import task
        import ast, itertools, io, threading, logging, collections, dataclasses, weakref, types, random, queue, argparse, configparser, string, json, decimal, fractions, functools, contextlib, copy, graphlib, email.message, xml.etree.ElementTree as ET
        C0 = argparse.Namespace(a=1)
        C1 = (lambda m: (setattr(m, 'a', 1), m)[1])(types.ModuleType('m')).a
        C2 = functools.partial(lambda a: a, 1)
        C3 = collections.Counter('aab').total
        C4 = 'abc'.upper
        C5 = [1, 2].copy
        C6 = functools.partial(functools.partial(max, 1), 2)
        C7 = functools.partial(ET.tostring, ET.fromstring('<a>1</a>'))
        C8 = functools.partial(ast.dump, ast.parse('a'))
        C9 = functools.partial(string.Template('$a').substitute, a=1)
        C10 = functools.partial('{:>5}'.format, 1)
        C11 = functools.partial(sum, [1, 2])
        def shown(v): return v() if callable(v) else repr(v)
        @task
        def run(x): return [shown(C0), shown(C1), shown(C2), shown(C3), shown(C4), shown(C5), shown(C6), shown(C7), shown(C8), shown(C9), shown(C10), shown(C11)]
        """,
        (EXECUTES, "arguments 0", "C0 = argparse.Namespace(a=1)\n", "C0 = argparse.Namespace(a=2)\n"),
        (EXECUTES, "module type 1", "C1 = (lambda m: (setattr(m, 'a', 1), m)[1])(types.ModuleType('m')).a\n", "C1 = (lambda m: (setattr(m, 'a', 2), m)[1])(types.ModuleType('m')).a\n"),
        (EXECUTES, "lambda in a partial 2", "C2 = functools.partial(lambda a: a, 1)\n", "C2 = functools.partial(lambda a: -a, 1)\n"),
        (EXECUTES, "method of an instance of a library 3", "C3 = collections.Counter('aab').total\n", "C3 = collections.Counter('aabb').total\n"),
        (EXECUTES, "method of a text 4", "C4 = 'abc'.upper\n", "C4 = 'abd'.upper\n"),
        (EXECUTES, "method of a list 5", "C5 = [1, 2].copy\n", "C5 = [1, 3].copy\n"),
        (EXECUTES, "nested partial 6", "C6 = functools.partial(functools.partial(max, 1), 2)\n", "C6 = functools.partial(functools.partial(max, 1), 3)\n"),
        (EXECUTES, "xml 7", "C7 = functools.partial(ET.tostring, ET.fromstring('<a>1</a>'))\n", "C7 = functools.partial(ET.tostring, ET.fromstring('<a>2</a>'))\n"),
        (EXECUTES, "syntax node 8", "C8 = functools.partial(ast.dump, ast.parse('a'))\n", "C8 = functools.partial(ast.dump, ast.parse('b'))\n"),
        (EXECUTES, "template 9", "C9 = functools.partial(string.Template('$a').substitute, a=1)\n", "C9 = functools.partial(string.Template('$a!').substitute, a=1)\n"),
        (EXECUTES, "format 10", "C10 = functools.partial('{:>5}'.format, 1)\n", "C10 = functools.partial('{:>6}'.format, 1)\n"),
        (EXECUTES, "sum 11", "C11 = functools.partial(sum, [1, 2])\n", "C11 = functools.partial(sum, (1, 3))\n"),
    ),
    project(
        "third-party constants",
        """
        # main.py
        from tasklineage import task
        import numpy as np, pandas as pd, functools, operator
        import polars as pl, pyarrow as pa
        C0 = pl.DataFrame({'a': [1, 2]})
        C1 = pl.Series('s', [1.0])
        C2 = pa.table({'a': [1]})
        C3 = pa.int32()
        C4 = np.tri(2)
        C5 = pd.offsets.BDay(1)
        C6 = pd.Interval(0, 1)
        C7 = pd.MultiIndex.from_product([[1], ['a']])
        C8 = repr(pd.CategoricalDtype(['a', 'b'], ordered=True))
        C9 = np.polynomial.Polynomial([1, 2])
        C10 = np.array([1 + 2j])
        C11 = np.array([True])
        C12 = [np.zeros(1), np.ones(1)]
        C13 = {'w': np.zeros(2), 'b': 0}
        C14 = np.broadcast_to(1, (2, 2))
        C15 = np.rec.array([(1, 2)], names='a,b').dtype
        C16 = functools.partial(np.sum, np.arange(3))
        C17 = np.arange(3).sum
        C18 = pd.DataFrame({'a': [1]}).to_dict
        C19 = functools.partial(np.add, 1, 2)
        C20 = pd.DataFrame({'a': [1, 1], 'b': [2, 3]}).groupby('a').sum()
        C21 = pd.DataFrame({'a': [[1], {'k': 2}]})
        C22 = (lambda d: (d.attrs.update(u=1), d)[1])(pd.DataFrame({'a': [1]})).attrs
        def shown(v): return str(v() if callable(v) and not isinstance(v, np.polynomial.Polynomial) else v)
        @task
        def run(x): return [shown(C0), shown(C1), shown(C2), shown(C3), shown(C4), shown(C5), shown(C6), shown(C7), shown(C8), shown(C9), shown(C10), shown(C11), shown(C12), shown(C13), shown(C14), shown(C15), shown(C16), shown(C17), shown(C18), shown(C19), shown(C20), shown(C21), shown(C22)]
        """,
        (EXECUTES, "polars 0", "C0 = pl.DataFrame({'a': [1, 2]})\n", "C0 = pl.DataFrame({'a': [1, 3]})\n"),
        (HITS, "polars 0 same", "C0 = pl.DataFrame({'a': [1, 2]})\n", "C0 = pl.DataFrame({'a': range(1, 3)})\n"),
        (EXECUTES, "polars series 1", "C1 = pl.Series('s', [1.0])\n", "C1 = pl.Series('t', [1.0])\n"),
        (EXECUTES, "arrow 2", "C2 = pa.table({'a': [1]})\n", "C2 = pa.table({'a': [2]})\n"),
        (EXECUTES, "arrow type 3", "C3 = pa.int32()\n", "C3 = pa.int64()\n"),
        (EXECUTES, "triangle 4", "C4 = np.tri(2)\n", "C4 = np.tri(3)\n"),
        (HITS, "triangle 4 same", "C4 = np.tri(2)\n", "C4 = np.array([[1.0, 0], [1, 1]])\n"),
        (EXECUTES, "offset 5", "C5 = pd.offsets.BDay(1)\n", "C5 = pd.offsets.BDay(2)\n"),
        (EXECUTES, "interval 6", "C6 = pd.Interval(0, 1)\n", "C6 = pd.Interval(0, 1, closed='left')\n"),
        (EXECUTES, "multi index 7", "C7 = pd.MultiIndex.from_product([[1], ['a']])\n", "C7 = pd.MultiIndex.from_product([[1], ['b']])\n"),
        (EXECUTES, "categorical order 8", "C8 = repr(pd.CategoricalDtype(['a', 'b'], ordered=True))\n", "C8 = repr(pd.CategoricalDtype(['a', 'b']))\n"),
        (EXECUTES, "polynomial 9", "C9 = np.polynomial.Polynomial([1, 2])\n", "C9 = np.polynomial.Polynomial([1, 3])\n"),
        (EXECUTES, "complex array 10", "C10 = np.array([1 + 2j])\n", "C10 = np.array([1 - 2j])\n"),
        (EXECUTES, "bool array 11", "C11 = np.array([True])\n", "C11 = np.array([1])\n"),
        (HITS, "bool array 11 same", "C11 = np.array([True])\n", "C11 = np.ones(1, bool)\n"),
        (EXECUTES, "list of arrays 12", "C12 = [np.zeros(1), np.ones(1)]\n", "C12 = [np.ones(1), np.ones(1)]\n"),
        (EXECUTES, "dict of arrays 13", "C13 = {'w': np.zeros(2), 'b': 0}\n", "C13 = {'w': np.ones(2), 'b': 0}\n"),
        (HITS, "dict of arrays 13 same", "C13 = {'w': np.zeros(2), 'b': 0}\n", "C13 = dict(w=np.array([0., 0]), b=0)\n"),
        (EXECUTES, "broadcast 14", "C14 = np.broadcast_to(1, (2, 2))\n", "C14 = np.broadcast_to(1, (2, 3))\n"),
        (HITS, "broadcast 14 same", "C14 = np.broadcast_to(1, (2, 2))\n", "C14 = np.ones((2, 2), int)\n"),
        (EXECUTES, "recorded 15", "C15 = np.rec.array([(1, 2)], names='a,b').dtype\n", "C15 = np.rec.array([(1, 2)], names='a,c').dtype\n"),
        (EXECUTES, "partial of numpy 16", "C16 = functools.partial(np.sum, np.arange(3))\n", "C16 = functools.partial(np.max, np.arange(3))\n"),
        (EXECUTES, "method of an array 17", "C17 = np.arange(3).sum\n", "C17 = np.arange(4).sum\n"),
        (EXECUTES, "method of a frame 18", "C18 = pd.DataFrame({'a': [1]}).to_dict\n", "C18 = pd.DataFrame({'a': [2]}).to_dict\n"),
        (EXECUTES, "ufunc 19", "C19 = functools.partial(np.add, 1, 2)\n", "C19 = functools.partial(np.multiply, 1, 2)\n"),
        (EXECUTES, "groupby 20", "C20 = pd.DataFrame({'a': [1, 1], 'b': [2, 3]}).groupby('a').sum()\n", "C20 = pd.DataFrame({'a': [1, 1], 'b': [2, 4]}).groupby('a').sum()\n"),
        (EXECUTES, "object frame 21", "C21 = pd.DataFrame({'a': [[1], {'k': 2}]})\n", "C21 = pd.DataFrame({'a': [[1], {'k': 3}]})\n"),
        (EXECUTES, "attrs 22", "C22 = (lambda d: (d.attrs.update(u=1), d)[1])(pd.DataFrame({'a': [1]})).attrs\n", "C22 = (lambda d: (d.attrs.update(u=2), d)[1])(pd.DataFrame({'a': [1]})).attrs\n"),
    ),
]
