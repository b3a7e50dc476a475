"""The normal form of syntax tells apart what can change a result, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import CodeType, FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasklineage.key.syntax import Functions


def digest_of(text: str, name: str = "f") -> bytes:
    """The digest of the function `name`, or of the only lambda, of a text."""
    codes = [compile(text, "<test>", "exec")]
    for code in codes:
        codes.extend(c for c in code.co_consts if isinstance(c, CodeType))
    found = [code for code in codes if code.co_name == name]
    assert found
    return Functions(text).digest(found[0])


def body(text: str, head: str = "def f(x):") -> str:
    return "\n    ".join([head, *text.splitlines()])


DIFFERENT = [
    ("return 1", "return True", "return 1.0", "return '1'", "return b'1'", "return 1j"),
    ("return 0.0", "return -0.0", "return 0", "return 0j"),
    ("return 1e400", "return -1e400", "return 1e300"),
    ("return x + 1", "return x - 1", "return 1 + x"),
    ("return x and 1", "return x or 1"),
    ("return x is None", "return x == None"),
    ("return f'{x}'", "return f'{x!r}'", "return f'{x:3}'", "return f'{x} '", "return str(x)"),
    ("return [i for i in x]", "return {i for i in x}", "return (i for i in x)"),
    ("return [i for i in x if i]", "return [i for i in x]"),
    ("y = 1\nreturn y", "global y\ny = 1\nreturn y"),
    ("y: int\nreturn y", "return y"),
    ("class C:\n    y: int = 1\nreturn C", "class C:\n    y: str = 1\nreturn C", "class C:\n    y = 1\nreturn C"),
    ("return x.__a", "return x.a", "return x.__a__"),
    ("return None", "return ...", "return False"),
    ("def g(y=1): return y\nreturn g", "def g(y=2): return y\nreturn g"),
    ("def g(*, y=1): return y\nreturn g", "def g(y=1): return y\nreturn g"),
    ("def g(y=(1)): return y\nreturn g", "def g(y=(1,)): return y\nreturn g"),
    ("@a\ndef g(): pass\nreturn g", "def g(): pass\nreturn g", "@b\ndef g(): pass\nreturn g"),
    ("import a.b\nreturn a", "import a.b as a\nreturn a", "from a import b\nreturn a"),
    ("from . import a\nreturn a", "from .. import a\nreturn a"),
    ("return {**x}", "return {None: x}"),
    ("return x[1:]", "return x[:1]", "return x[1]", "return x[1,]"),
    ("try:\n    a()\nexcept E:\n    b()", "try:\n    a()\nexcept:\n    b()", "try:\n    a()\nfinally:\n    b()"),
    ("match x:\n    case None: return 1", "match x:\n    case True: return 1", "match x:\n    case _: return 1"),
    ("async def g(): return 1\nreturn g", "def g(): return 1\nreturn g"),
    ("for i in x:\n    a()\nelse:\n    b()", "for i in x:\n    a()\nb()"),
]  # fmt: skip
ALIKE = [
    ("return x", "'documented'\nreturn x", "# why\n\nreturn (x)", "return x;"),
    ("return 'ab'", "return 'a' 'b'", 'return "ab"', "return u'ab'", "return 'a\\x62'"),
    ("return 16", "return 0x10", "return 1_6"),
    ("return f'a{x}b'", "return f'a' f'{x}b'", "return 'a' f'{x}' 'b'"),
    ("y = 1\nreturn y", "y: int = 1\nreturn y"),
    ("x.a = 1", "x.a: int = 1"),
    ("def g(y): return y\nreturn g", "def g(y: int) -> int:\n    'doc'\n    return y\nreturn g"),
    ("return a(1, 2)", "return a(\n    1,\n    2,\n)"),
]


@pytest.mark.parametrize("texts", DIFFERENT, ids=lambda texts: texts[0])
def test_what_can_change_a_result_is_told_apart(texts: tuple[str, ...]) -> None:
    digests = [digest_of(body(text)) for text in texts]
    assert all(digests)
    assert len(set(digests)) == len(texts)


@pytest.mark.parametrize("texts", ALIKE, ids=lambda texts: texts[0])
def test_what_cannot_is_not(texts: tuple[str, ...]) -> None:
    assert len({digest_of(body(text)) for text in texts}) == 1


def test_of_the_head_only_parameters_count() -> None:
    plain = digest_of(body("return x"))
    for head in ("def f(x: int) -> int:", "def f(x=1):", "@a\n@b(2)\ndef f(x):"):
        assert digest_of(body("return x", head)) == plain
    heads = ("def f(x, y):", "def f(*x):", "def f(**x):", "def f(x, /):", "def f(*, x):", "async def f(x):")  # fmt: skip
    assert len({plain, *(digest_of(body("return x", head)) for head in heads)}) == len(heads) + 1


def test_private_names_belong_to_a_class() -> None:
    def method(cls: str, name: str) -> bytes:
        return digest_of(f"class {cls}:\n    def f(self): return self.{name}")

    assert method("A", "__x") != method("B", "__x")
    assert method("A", "x") == method("B", "x")


def test_variables_of_enclosing_functions_are_no_globals() -> None:
    inner = "    def f(): return y\n    return f"
    assert digest_of(f"def g(y):\n{inner}") != digest_of(f"def g(z):\n{inner}")


def test_lambdas_on_one_line_are_told_apart() -> None:
    text = "a, b = lambda x: x + 1, lambda x: lambda y: x + y"
    space: dict[str, Any] = {}
    exec(compile(text, "<test>", "exec"), space)
    functions: list[Callable[..., Any]] = [space["a"], space["b"], space["b"](1)]
    codes = [f.__code__ for f in functions if isinstance(f, FunctionType)]
    digests = [Functions(text).digest(code) for code in codes]
    assert all(digests)
    assert len(set(digests)) == 3


atoms = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()
)


@given(st.lists(atoms, min_size=1, max_size=4), st.lists(atoms, min_size=1, max_size=4))
def test_constants_are_the_same_where_they_and_their_types_are(a: list[Any], b: list[Any]) -> None:
    def of(values: list[Any]) -> bytes:
        return digest_of(body(f"return {ascii(values).replace('inf', '1e999')}"))

    def told(values: list[Any]) -> str:
        return repr(values)

    assert (of(a) == of(b)) == (told(a) == told(b))
    for one, other in itertools.combinations(a + b, 2):
        assert (of([one]) == of([other])) == (told([one]) == told([other]))


def test_threads_may_look_at_syntax_at_the_same_time() -> None:
    text = "def f(x):\n    return " + " + ".join(f"(x * {i})" for i in range(150)) + "\n"
    expected = digest_of(text)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(digest_of, [text] * 80))
    assert found == {expected}
