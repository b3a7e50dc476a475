"""Edits of the values that code reads: constants of every type, from everywhere."""

from __future__ import annotations

from tests.edits.cases import EXECUTES, HITS, Project, project

_IMPORTS = """
import array, copy, collections, datetime, decimal, enum, fractions, functools, ipaddress, itertools, json, math, operator, os
import pathlib, random, re, string, types, typing, uuid, zoneinfo
"""


def _constants(name: str, imports: str, show: str, *rows: tuple[str, str, str, str | None]) -> Project:
    """A project with a constant for each row: its name, its text, another value, the same value."""
    constants = "\n".join(f"C{n} = {text}" for n, (_, text, _, _) in enumerate(rows))
    shown = ", ".join(f"C{n}" for n in range(len(rows)))
    body = f"def shown(v): return {show}\n@task\ndef run(x): return [shown(v) for v in ({shown},)]\n"
    edits: list[tuple[object, ...]] = []
    for n, (title, text, other, same) in enumerate(rows):
        edits.append((EXECUTES, f"{title} {n}", f"C{n} = {text}\n", f"C{n} = {other}\n"))
        if same is not None:
            edits.append((HITS, f"{title} {n} written otherwise", f"C{n} = {text}\n", f"C{n} = {same}\n"))
    return project(name, f"# main.py\nfrom tasklineage import task\n{imports}\n{constants}\n{body}", *edits)


PROJECTS = [
    _constants(
        "constants",
        _IMPORTS,
        "repr(v)",
        ("integer", "1000", "1001", "0x3e8"),
        ("integer to float", "5", "5.0", "2 + 3"),
        ("integer to bool", "1", "True", "3 - 2"),
        ("negative zero", "0.0", "-0.0", "0 * 1.5"),
        ("float", "0.1", "0.1000001", "1e-1"),
        ("infinity", "math.inf", "-math.inf", "float('inf')"),
        ("complex", "1 + 2j", "1 + 3j", "complex(1, 2)"),
        ("big integer", "10 ** 40", "10 ** 40 + 1", "int('1' + '0' * 40)"),
        ("text", "'abc'", "'abd'", "'ab' + 'c'"),
        ("text to bytes", "'a'", "b'a'", "chr(97)"),
        ("long text", "'ab' * 5000", "'ab' * 4999 + 'ac'", "''.join(['ab'] * 5000)"),
        ("bytes", "b'ab'", "b'ac'", "bytes([97, 98])"),
        ("none", "None", "0", "{}.get('a')"),
        ("tuple to list", "(1, 2)", "[1, 2]", "tuple([1, 2])"),
        ("nested list", "[1, [2, [3]]]", "[1, [2, [4]]]", "[1, [2] + [[3]]]"),
        ("dict", "{'a': {'b': [1]}}", "{'a': {'b': [2]}}", "dict(a=dict(b=[1]))"),
        ("dict order", "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", "dict([('a', 1), ('b', 2)])"),
        ("key type", "{1: 'a'}", "{'1': 'a'}", "{2 - 1: 'a'}"),
        ("ordered", "collections.OrderedDict(a=1, b=2)", "collections.OrderedDict(b=2, a=1)", None),
        ("counter", "collections.Counter('aab')", "collections.Counter('abb')", "collections.Counter({'a': 2, 'b': 1})"),
        ("default factory", "collections.defaultdict(list)", "collections.defaultdict(dict)", None),
        ("chain map", "collections.ChainMap({'a': 1}, {'b': 2})", "collections.ChainMap({'b': 2}, {'a': 1})", None),
        ("deque", "collections.deque([1, 2], 3)", "collections.deque([1, 2], 4)", "collections.deque((1, 2), maxlen=3)"),
        ("range", "range(0, 10, 2)", "range(0, 12, 2)", "range(0, 10)[::2]"),
        ("slice", "slice(1, 2)", "slice(1, 3)", "slice(1, 2, None)"),
        ("regex", "re.compile('a+')", "re.compile('b+')", "re.compile(r'a+')"),
        ("regex flags", "re.compile('a', re.I)", "re.compile('a', re.M)", "re.compile('a', re.IGNORECASE)"),
        ("path", "pathlib.PurePosixPath('a/b')", "pathlib.PurePosixPath('a/c')", "pathlib.PurePosixPath('a') / 'b'"),
        ("decimal", "decimal.Decimal('1.0')", "decimal.Decimal('1.00')", "decimal.Decimal(10).scaleb(-1)"),
        ("fraction", "fractions.Fraction(1, 3)", "fractions.Fraction(2, 3)", "fractions.Fraction('2/6')"),
        ("date", "datetime.date(2024, 1, 1)", "datetime.date(2024, 1, 2)", "datetime.date.fromisoformat('2024-01-01')"),
        ("zone", "datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)", "datetime.datetime(2024, 1, 1)", "datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)"),
        ("named zone", "zoneinfo.ZoneInfo('UTC')", "datetime.timezone.utc", None),
        ("time delta", "datetime.timedelta(days=1)", "datetime.timedelta(days=2)", "datetime.timedelta(hours=24)"),
        ("uuid", "uuid.UUID(int=1)", "uuid.UUID(int=2)", "uuid.UUID('00000000-0000-0000-0000-000000000001')"),
        ("network address", "ipaddress.ip_address('10.0.0.1')", "ipaddress.ip_address('10.0.0.2')", None),
        ("namespace", "types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)", "types.SimpleNamespace(**{'a': 1})"),
        ("proxy", "types.MappingProxyType({'a': 1})", "types.MappingProxyType({'a': 2})", None),
        ("array module", "array.array('i', [1, 2])", "array.array('i', [1, 3])", "array.array('i', (1, 2))"),
        ("array type code", "array.array('i', [1])", "array.array('l', [1])", None),
        ("bytearray", "bytearray(b'a')", "bytearray(b'b')", "bytearray([97])"),
        ("builtin type", "int", "float", "type(1)"),
        ("generic alias", "list[int]", "list[str]", None),
        ("union", "int | str", "int | bytes", None),
        ("optional", "typing.Optional[int]", "typing.Optional[str]", "typing.Union[int, None]"),
        ("exception", "ValueError('a')", "ValueError('b')", None),
        ("ellipsis", "...", "NotImplemented", "Ellipsis"),
        ("translation", "str.maketrans('ab', 'cd')", "str.maketrans('ab', 'ce')", "{97: 99, 98: 100}"),
        ("from json", "json.loads('[1, 2]')", "json.loads('[1, 3]')", "[1, 2]"),
        ("product", "list(itertools.product('ab', [1]))", "list(itertools.product('ab', [2]))", "[('a', 1), ('b', 1)]"),
        ("environment", "os.environ.get('NOT_SET', 'a')", "os.environ.get('NOT_SET', 'b')", "'a'"),
    ),
    _constants(
        "sets and functions",
        _IMPORTS,
        "sorted(v) if isinstance(v, (set, frozenset)) else v(3) if callable(v) else copy.deepcopy(v).randrange(10 ** 6)",
        ("set", "{1, 2, 3}", "{1, 2, 4}", "{3, 2, 1}"),
        ("set of texts", "{'a', 'b', 'c'}", "{'a', 'b', 'd'}", "set('cab')"),
        ("frozenset", "frozenset('ab')", "frozenset('ac')", "frozenset(['b', 'a'])"),
        ("lambda", "lambda v: v + 1", "lambda v: v + 2", "(lambda v:\n    v + 1)"),
        ("builtin", "abs", "str", None),
        ("class as a function", "str", "float", None),
        ("bound method of a text", "'a{}'.format", "'b{}'.format", None),
        ("bound method of a dict", "{3: 4}.get", "{3: 5}.get", None),
        ("bound method of a regex", "(lambda v: re.compile('a').sub('b', 'aa'))", "(lambda v: re.compile('a').sub('c', 'aa'))", None),
        ("partial", "functools.partial(int.__add__, 1)", "functools.partial(int.__add__, 2)", None),
        ("seeded generator", "random.Random(1)", "random.Random(2)", None),
    ),
    _constants(
        "numpy",
        "import copy\nimport numpy as np",
        "v.tolist() if isinstance(v, np.ma.MaskedArray) else (getattr(v, 'dtype', None), np.asarray(v).shape, np.asarray(v).tolist()) if not hasattr(v, 'integers') else copy.deepcopy(v).integers(10 ** 6)",
        ("array", "np.array([1, 2, 3])", "np.array([1, 2, 4])", "np.arange(1, 4)"),
        ("dtype", "np.zeros(2)", "np.zeros(2, 'f4')", "np.array([0.0, 0.0])"),
        ("shape", "np.zeros((2, 3))", "np.zeros((3, 2))", "np.zeros((3, 2)).T"),
        ("layout", "np.ones((2, 2))", "np.ones((2, 2)) * 2", "np.asfortranarray(np.ones((2, 2)))"),
        ("strides", "np.arange(3)", "np.arange(3)[::-1]", "np.arange(6)[:3]"),
        ("scalar", "np.float64(1)", "np.float32(1)", "np.ones(1)[0]"),
        ("structured", "np.array([(1, 2.0)], [('a', 'i4'), ('b', 'f8')])", "np.array([(1, 2.0)], [('a', 'i4'), ('c', 'f8')])", None),
        ("dates", "np.array(['2024-01-01'], 'M8[D]')", "np.array(['2024-01-02'], 'M8[D]')", None),
        ("unit of dates", "np.array(['2024-01-01'], 'M8[D]')", "np.array(['2024-01-01'], 'M8[s]')", None),
        ("texts", "np.array(['a', 'b'])", "np.array(['a', 'c'])", None),
        ("objects", "np.array([1, 'a', None], object)", "np.array([1, 'b', None], object)", None),
        ("masked", "np.ma.array([1, 2], mask=[0, 1])", "np.ma.array([1, 2], mask=[1, 0])", None),
        ("generator", "np.random.default_rng(1)", "np.random.default_rng(2)", None),
        ("0-d", "np.array(5)", "np.array([5])", None),
    ),
    _constants(
        "frames",
        "import pandas as pd",
        "(type(v).__name__, repr(getattr(v, 'dtypes', '')), repr(v.to_dict()), repr(v.index))",
        ("column", "pd.DataFrame({'a': [1, 2]})", "pd.DataFrame({'a': [1, 3]})", "pd.DataFrame([[1], [2]], columns=['a'])"),
        ("name of a column", "pd.DataFrame({'a': [1]})", "pd.DataFrame({'b': [1]})", None),
        ("order of columns", "pd.DataFrame({'a': [1], 'b': [2]})", "pd.DataFrame({'b': [2], 'a': [1]})", None),
        ("index", "pd.Series([1, 2], index=['x', 'y'])", "pd.Series([1, 2], index=['x', 'z'])", None),
        ("dtype", "pd.Series([1, 2])", "pd.Series([1, 2], dtype='float64')", "pd.Series((1, 2))"),
        ("categories", "pd.Series(['a'], dtype='category')", "pd.Series(['a'], dtype=pd.CategoricalDtype(['a', 'b']))", None),
        ("zone", "pd.Series(pd.to_datetime(['2024-01-01']))", "pd.Series(pd.to_datetime(['2024-01-01'], utc=True))", None),
    ),
    project(
        "read at import",
        """
        # main.py
        import csv, os
        from tasklineage import task
        from data import ROWS, WORDS, first
        MODE = os.environ.get("MODE_OF_CASE", "plain")
        @task
        def run(x): return ROWS, sorted(WORDS), MODE, first()
        # data.py
        import os
        import rows
        HERE = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(HERE, "rows.py")) as file:
            ROWS = tuple(line.strip() for line in file if line.startswith("#:"))
        WORDS = {w for row in ROWS for w in row.split()}
        def first(): return ROWS[0]
        # rows.py
        #: one 1
        #: two 2
        # a remark
        """,
        (EXECUTES, "line of a file that is read at import", "one 1", "one 3"),
        (EXECUTES, "line added", "two 2", "two 2\n#: three 3"),
        (HITS, "line that does not count", "# a remark", "# another remark"),
        (EXECUTES, "default of an environment variable", '"plain"', '"fancy"'),
        (HITS, "folder that is not read", "HERE = os", "HERE = THERE = os"),
    ),
]
