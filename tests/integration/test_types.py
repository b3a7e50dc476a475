"""Results of every kind of type, through `@task`: hits in a new process, names, errors."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pydantic
import pytest

import tasklineage as tl
from tasklineage import task

PROGRAM = """
import collections, dataclasses, datetime as dt, decimal, enum, fractions, importlib, pathlib, re
import sys, types, uuid
from zoneinfo import ZoneInfo
from typing import Any, NamedTuple
import attrs, numpy as np, pydantic
import tasklineage as tl


@dataclasses.dataclass
class Split:
    X: Any
    label: str = "train"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: Any


@attrs.define
class Defined:
    a: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    weights: Any
    _seed: int = pydantic.PrivateAttr(default=3)


class Pair(NamedTuple):
    a: Any
    b: Any


class Colour(enum.Enum):
    RED = 1


class Plain:
    def __init__(self):
        self.a = 1


class Right(enum.Flag):
    READ = 1
    WRITE = 2


def torch(): return importlib.import_module("torch")
def jax(): return importlib.import_module("jax")


def figure():
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    figure = importlib.import_module("matplotlib.figure").Figure()
    figure.subplots().plot([1, 2, 3])
    return figure


MAKE = {
    "dataclass": lambda: Split(np.arange(9_000.0)),
    "frozen": lambda: [Frozen(1), Frozen([Frozen(2)])],
    "attrs": lambda: Defined({"x": Defined(1)}),
    "pydantic": lambda: Model(weights=np.arange(9_000.0)),
    "namedtuple": lambda: Pair(1, [Pair(2, 3)]),
    "enum": lambda: {Colour.RED: [Colour.RED], "f": Right.READ | Right.WRITE},
    "datetime": lambda: dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    "times": lambda: [dt.date(2024, 1, 1), dt.time(1, 2), dt.timezone(dt.timedelta(hours=1))],
    "numbers": lambda: [decimal.Decimal("1.50"), fractions.Fraction(1, 3), range(3), slice(1, 2)],
    "names": lambda: [uuid.UUID(int=5), pathlib.Path("a/b"), re.compile("a.b", re.I)],
    "collections": lambda: [collections.OrderedDict(a=1), collections.Counter("aab"),
                            collections.defaultdict(list, a=[1]), collections.deque([1], 3),
                            types.SimpleNamespace(a=1)],
    "plain class": Plain,
    "tensor": lambda: torch().arange(9_000.0),
    "state dict": lambda: torch().nn.Linear(3, 3).state_dict(),
    "module": lambda: torch().nn.Linear(3, 3),
    "jax": lambda: jax().numpy.arange(3.0),
    "sparse": lambda: importlib.import_module("scipy.sparse").csr_array(np.eye(3)),
    "image": lambda: importlib.import_module("PIL.Image").new("RGB", (3, 3), "red"),
    "figure": figure,
}


@tl.task
def make(name):
    return MAKE[name]()


@tl.task
def use(value):
    return type(value).__name__


if __name__ == "__main__":
    with tl.run(store=sys.argv[1]) as run:
        for name in sys.argv[2:]:
            use(make(name))
    for call in run.calls:
        if call.task.endswith("make"):
            print(call.args["name"], call.output.digest, call.output.type, sep="|")
    print(run.executed, run.hits)
"""
NAMES = (
    "dataclass frozen attrs pydantic namedtuple enum datetime times numbers names collections "
    "image figure"
).split()
OPTIONAL = {"torch": ["tensor", "state dict", "module"], "jax": ["jax"], "scipy": ["sparse"]}


def names() -> list[str]:
    found = [*NAMES, "plain class"]
    for library, more in OPTIONAL.items():
        try:
            __import__(library)
        except ImportError:
            continue
        found += more
    return found


def output(program: Path, store: Path, seed: str, wanted: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", str(program), str(store), *wanted],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def test_every_type_is_a_hit_in_a_new_process_as_result_and_as_argument(
    program: Path, tmp_path: Path
) -> None:
    wanted = names()
    *first, counts = output(program, tmp_path / "store", "1", wanted)
    assert counts == f"{2 * len(wanted)} 0"
    *second, counts = output(program, tmp_path / "store", "2", wanted)
    assert counts == f"0 {2 * len(wanted)}"
    assert second == first
    types = {line.split("|")[0]: line.split("|")[2] for line in first}
    pickled = {name for name, kind in types.items() if kind.endswith("pickle)")}
    assert pickled - {"module"} == {"plain class", "figure"}
    assert types["plain class"] == "__main__.Plain (pickle)"
    assert types["dataclass"] == "__main__.Split"


def test_equal_content_has_equal_digests_in_stores_apart(program: Path, tmp_path: Path) -> None:
    wanted = [name for name in names() if name not in ("state dict", "module")]  # random weights
    *first, _ = output(program, tmp_path / "a", "3", wanted)
    *second, _ = output(program, tmp_path / "b", "4", wanted)
    assert first == second


def test_a_stored_figure_is_shown_without_being_unpickled(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib.figure")

    @task
    def draw(n: int) -> Any:
        made = matplotlib.Figure()
        made.subplots().plot(range(n))
        return made

    with tl.run(store=tmp_path / "store") as run:
        draw(3)
    store = tl.open_store(tmp_path / "store", allow_pickle=False)
    (call,) = tl.calls(run=run.id, store=store)
    artifact = call.output
    assert artifact is not None
    assert artifact.type == "matplotlib.figure.Figure (pickle)"
    assert (artifact.picture() or b"").startswith(b"\x89PNG")
    assert b"<svg" in (artifact.picture("svg") or b"")
    assert artifact.picture("gif") is None
    assert 'src="data:image/png;base64,' in artifact._repr_html_()
    with pytest.raises(tl.UnsafeFormat):
        _ = artifact.value


# -- errors ----------------------------------------------------------------------------------------


class Holder:
    def __init__(self, hook: Any) -> None:
        self.hook = hook


@attrs.define
class Defined:
    content: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    content: Any


class Pair(NamedTuple):
    left: Any
    right: Any = None


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (lambda bad: {"model": Holder(bad)}, "result['model'].hook"),
        (lambda bad: Defined([bad]), "result.content[0]"),
        (lambda bad: Model(content={"a": bad}), "result.content['a']"),
        (lambda bad: Pair(1, Defined(bad)), "result.right.content"),
    ],
)
def test_what_cannot_be_stored_is_named_and_handed_over(build: Any, path: str) -> None:
    bad = threading.Lock()

    @task
    def broken() -> Any:
        return build(bad)

    with pytest.raises(tl.UnstorableResult, match="broken") as caught:
        broken()
    assert caught.value.path == path
    assert path in str(caught.value)
    assert type(caught.value.value) is type(build(bad))


# -- codecs of other distributions -----------------------------------------------------------------

PLUGIN = """
import warnings
from tasklineage.storage.codecs import Codec, Encoded

class Temperature:
    def __init__(self, degrees):
        self.degrees = degrees
    def __reduce__(self):
        raise AssertionError("pickled")

class TemperatureCodec(Codec):
    name = "thermo-temperature"
    is_safe = True
    def handles(self, value):
        return type(value) is Temperature
    def encode(self, value):
        return Encoded(value.degrees, [])
    def decode(self, meta, buffers):
        return Temperature(meta)
"""
USER = """
import sys, warnings
import tasklineage as tl
from thermo import Temperature
tl.register_digest(Temperature, lambda value: ("temperature", value.degrees))

@tl.task
def measure(n):
    return [Temperature(n)]

@tl.task
def other(n):
    return {n, 2.5}

with warnings.catch_warnings(record=True) as caught, tl.run(store=sys.argv[1]) as run:
    warnings.simplefilter("always")
    print(measure(20)[0].degrees, other(1))
print(run.executed, run.hits, sorted(str(one.message) for one in caught))
store = tl.open_store(sys.argv[1], allow_pickle=False)
(call,) = tl.calls(task="measure", run=run, store=store)
print(call.result[0].degrees, call.output.type)
"""


def test_an_installed_codec_goes_before_pickle_and_a_broken_one_only_warns(tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "thermo-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "thermo.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thermo\nVersion: 1.0\n")
    (info / "RECORD").write_text("thermo.py,,\n")
    (info / "entry_points.txt").write_text(
        "[tasklineage.codecs]\n"
        "temperature = thermo:TemperatureCodec\n"
        "broken = thermo:NoSuchCodec\n"
        "absent = no_such_module:Codec\n"
    )
    program = tmp_path / "user.py"
    program.write_text(USER)
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(program), str(tmp_path / "store")],
            env={
                **os.environ,
                "PYTHONPATH": f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.splitlines())
    first, second = found
    assert first[0] == second[0] == "20 {1, 2.5}"
    assert first[1].startswith("2 0 ")
    assert first[1].count("cannot be loaded") == 2
    assert second[1].startswith("0 2 ")
    assert first[2] == second[2] == "20 list"
