"""Code versions in one process: what is seen without a restart, and what is reported."""

from __future__ import annotations

import builtins
import functools
import gc
import importlib
import pickle
import sys
import textwrap
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from tasklineage.key import closure
from tasklineage.key import code_version as module
from tasklineage.key.code_version import (
    CodeVersion,
    TaskLike,
    changed_data,
    code_version,
    data_state,
)
from tasklineage.key.digest import digest


class Task(TaskLike):
    """The least that a task is."""

    def __init__(
        self,
        function: Callable[..., Any],
        version: str | None = None,
        key: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.__wrapped__ = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._version = version
        self._key = key or {}

    @property
    def version(self) -> str | None:
        return self._version

    @property
    def key(self) -> Mapping[str, Callable[[Any], Any]]:
        return self._key


class Project:
    """Modules written to a folder and imported from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.folder / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    def load(self, text: str, **files: str) -> Any:
        self.write(
            case_main="from tests_task import Task as task\n" + textwrap.dedent(text), **files
        )
        return importlib.import_module("case_main")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    support = ModuleType("tests_task")
    support.Task = Task  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests_task", support)
    yield Project(folder)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def assert_seen(task: Any, change: Callable[[], None]) -> None:
    """A change in this process gives another version, which then stays."""
    before = code_version(task)
    assert code_version(task) is before
    change()
    after = code_version(task)
    assert after.digest != before.digest
    assert code_version(task) is after


# What is seen by the next call.


def test_a_global_that_is_assigned_is_seen(project: Project) -> None:
    main = project.load("LIMIT = 1\n@task\ndef run(x): return x + LIMIT")
    first = code_version(main.run).digest
    assert_seen(main.run, lambda: setattr(main, "LIMIT", 2))
    assert_seen(main.run, lambda: setattr(main, "LIMIT", True))
    main.LIMIT = 1
    assert code_version(main.run).digest == first


def test_a_helper_that_is_redefined_is_seen(project: Project) -> None:
    main = project.load("def h(x): return x\n@task\ndef run(x): return h(x)")
    assert_seen(main.run, lambda: exec("def h(x): return -x", vars(main)))


def test_a_name_that_begins_to_shadow_a_builtin_is_seen(project: Project) -> None:
    main = project.load("@task\ndef run(x): return len(x)")
    assert_seen(main.run, lambda: exec("def len(x): return 0", vars(main)))


def test_a_patched_builtin_is_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    main = project.load("def mine(x): return 0\n@task\ndef run(x): return ascii(x)")
    assert_seen(main.run, lambda: monkeypatch.setattr(builtins, "ascii", main.mine))


def test_a_reloaded_module_is_seen(project: Project) -> None:
    main = project.load(
        "import helpers\n@task\ndef run(x): return helpers.f(x)", helpers="def f(x): return x"
    )

    def reload() -> None:
        project.write(helpers="def f(x): return x + 1000")
        importlib.reload(main.helpers)

    assert_seen(main.run, reload)


def test_a_method_that_is_replaced_is_seen(project: Project) -> None:
    main = project.load("class A:\n  def m(self): return 1\n@task\ndef run(x): return A().m()")
    assert_seen(main.run, lambda: setattr(main.A, "m", lambda self: 2))
    assert_seen(main.run, lambda: setattr(main.A, "n", lambda self: 3))
    assert_seen(main.run, lambda: delattr(main.A, "n"))


def test_a_closure_cell_that_changes_is_seen(project: Project) -> None:
    main = project.load(
        """
        def make():
            n = 1
            def f(x): return x + n
            def change():
                nonlocal n
                n = n + 1
                return n
            return task(f), change
        run, change = make()
        """
    )
    assert_seen(main.run, main.change)


def test_code_and_defaults_replaced_in_place_are_seen(project: Project) -> None:
    main = project.load("def h(x, y=1): return x\n@task\ndef run(x): return h(x)")
    assert_seen(main.run, lambda: setattr(main.h, "__defaults__", (2,)))
    assert_seen(main.run, lambda: setattr(main.h, "__code__", (lambda x, y: y).__code__))
    assert_seen(main.run, lambda: setattr(main.run.__wrapped__, "__code__", (lambda x: 5).__code__))


def test_a_function_attribute_is_seen(project: Project) -> None:
    main = project.load(
        "def h(x): return h.rate\nh.rate = 1\ndef g(x): return 1\n@task\ndef run(x): return h(x) + g(x)"
    )
    assert_seen(main.run, lambda: setattr(main.h, "rate", 2))
    assert_seen(main.run, lambda: setattr(main.g, "rate", 2))


def test_a_mutable_global_that_changes_is_seen(project: Project) -> None:
    main = project.load("CONFIG = {'a': [1]}\n@task\ndef run(x): return CONFIG['a']")
    first = code_version(main.run)
    assert_seen(main.run, lambda: main.CONFIG["a"].append(2))
    main.CONFIG["a"].pop()
    assert code_version(main.run) is first


def test_a_mutable_default_of_a_helper_is_seen(project: Project) -> None:
    main = project.load("def h(x, y=[]): return y\n@task\ndef run(x): return h(x)")
    assert_seen(main.run, lambda: main.h.__defaults__[0].append(1))


def test_code_put_into_a_global_dict_is_seen(project: Project) -> None:
    main = project.load(
        "HANDLERS = {}\ndef f(x): return x\n@task\ndef run(x): return HANDLERS[x](x), f(x)"
    )
    assert_seen(main.run, lambda: main.HANDLERS.update(a=main.f))
    assert_seen(main.run, lambda: main.HANDLERS.update(a=lambda x: x + 1))
    assert_seen(main.run, lambda: main.HANDLERS.update(a=lambda x: x + 2))


def test_an_implementation_that_is_registered_later_is_seen(project: Project) -> None:
    main = project.load(
        "import functools\n@functools.singledispatch\ndef h(x): return 1\n@task\ndef run(x): return h(x)"
    )
    assert_seen(main.run, lambda: main.h.register(str, lambda x: 2))


def test_a_patched_library_function_is_seen(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = project.load(
        "import textwrap\ndef mine(x): return 1\n@task\ndef run(x): return textwrap.dedent(x)"
    )
    assert_seen(main.run, lambda: monkeypatch.setattr(main.textwrap, "dedent", main.mine))


def test_new_bases_are_seen(project: Project) -> None:
    main = project.load(
        "class A:\n  def m(self): return 1\nclass B:\n  def m(self): return 2\n"
        "class C(A): pass\n@task\ndef run(x): return C().m()"
    )
    assert_seen(main.run, lambda: setattr(main.C, "__bases__", (main.B,)))


def test_a_name_that_appears_is_seen(project: Project) -> None:
    main = project.load("@task\ndef run(x): return later(x)")
    assert "later" in code_version(main.run).untracked[0]
    assert_seen(main.run, lambda: exec("def later(x): return x", vars(main)))
    assert code_version(main.run).untracked == ()


def test_changing_what_cannot_be_reached_keeps_the_version(project: Project) -> None:
    main = project.load(
        "import config\nOTHER = 1\n@task\ndef run(x): return config.A", config="A = 1\nB = [1]"
    )
    before = code_version(main.run)
    main.OTHER = 2
    main.config.B.append(2)
    main.config.C = 3
    assert code_version(main.run) is before


def test_the_file_edited_after_import_lends_no_text_to_the_old_code(project: Project) -> None:
    main = project.load("def h(x): return x\n@task\ndef run(x): return h(x)")
    before = code_version(main.run)
    project.write(
        case_main="from tests_task import Task as task\ndef h(x): return -x\n@task\ndef run(x): return h(x)"
    )
    assert code_version(main.run) is before
    texts = {part.name: part.text for part in before.parts}
    assert texts["case_main.h"] == ""
    assert "return h(x)" in texts["case_main.run"]


# Places and names do not count.


def test_the_main_module_and_an_imported_one_agree(project: Project) -> None:
    text = "class A:\n  x = 1\ndef h(x): return A().x\n@task\ndef run(x): return h(x)\n"
    imported = project.load(text)
    space = {"__name__": "__main__", "task": Task}
    exec(compile(text, "elsewhere.py", "exec"), space)
    assert code_version(space["run"]).digest == code_version(imported.run).digest


def test_functions_without_source_have_versions() -> None:
    one, two, three = ({"task": Task} for _ in range(3))
    exec("@task\ndef run(x): return x + 1", one)
    exec("@task\ndef run(x): return x + 2", two)
    exec("@task\ndef other(x):\n  y = x\n  return y + 2", three)
    exec("@task\ndef run(x):\n  z = x\n  return z + 2", three)
    assert code_version(one["run"]).digest != code_version(two["run"]).digest
    assert code_version(three["run"]).digest == code_version(three["other"]).digest


def test_equal_closures_of_one_factory_agree_and_others_do_not() -> None:
    def make(n: int) -> Callable[[int], int]:
        return lambda x: x + n

    assert code_version(make(1)).digest == code_version(make(1)).digest
    assert code_version(make(1)).digest != code_version(make(2)).digest


# Tasks.


def test_a_given_version_stands_in_for_the_code(project: Project) -> None:
    main = project.load("LIMIT = 1\ndef run(x): return LIMIT\ndef other(x): return 1")
    one, two = Task(main.run, "1"), Task(main.run, "2")
    before = code_version(one)
    assert before.digest != code_version(two).digest
    main.LIMIT = 2
    assert code_version(one) is before
    assert before.digest != code_version(Task(main.other, "1")).digest


def test_children_are_the_tasks_of_the_closure(project: Project) -> None:
    main = project.load(
        """
        @task
        def leaf(x): return x
        @task
        def child(x): return leaf(x)
        def helper(x): return child(x)
        TASKS = [child]
        @task
        def run(x):
            @task
            def inner(y): return y
            return helper(x) + TASKS[0](x) + inner(x)
        """
    )
    version = code_version(main.run)
    assert set(version.children) == {main.child, main.leaf}
    assert version.nested == {"case_main.run.<locals>.inner"}


def test_own_defaults_are_arguments_but_those_of_a_child_count(project: Project) -> None:
    main = project.load("@task\ndef child(x, y=1): return y\n@task\ndef run(x): return child(x)")
    child, parent = code_version(main.child).digest, code_version(main.run).digest
    main.child.__wrapped__.__defaults__ = (2,)
    assert code_version(main.child).digest == child
    assert code_version(main.run).digest != parent


def test_a_task_as_an_argument_counts_by_its_code(project: Project) -> None:
    main = project.load("N = 1\n@task\ndef run(x, y=1): return N")
    before = digest({"t": main.run})
    assert before == digest({"t": main.run})
    main.N = 2
    assert before != digest({"t": main.run})
    main.N = 1
    main.run.__wrapped__.__defaults__ = (2,)
    assert before != digest({"t": main.run})


def test_key_functions_count(project: Project) -> None:
    main = project.load("def run(x): return x\ndef k(x): return x[0]\ndef m(x): return x[1]")
    plain, one, two = (
        Task(main.run),
        Task(main.run, key={"x": main.k}),
        Task(main.run, key={"x": main.m}),
    )
    assert len({code_version(task).digest for task in (plain, one, two)}) == 3


def test_a_task_can_be_pickled_without_its_closure() -> None:
    task = Task(_module_level)
    code_version(task)
    assert "closure" not in vars(pickle.loads(pickle.dumps(task)))


def _module_level(x: int) -> int:
    return x


# Data.


def test_changed_data_names_what_a_call_has_changed(project: Project) -> None:
    main = project.load(
        """
        import config
        SEEN, TOTAL, LOG = [], 0, []
        class A:
            cache = {}
        @task
        def run(x):
            global TOTAL
            SEEN.append(len(SEEN))
            TOTAL = TOTAL * 2 + x
            A.cache[x] = len(A.cache)
            config.N += 1
            LOG.append(x)
            return x
        """,
        config="N = 1",
    )
    before = code_version(main.run)
    assert changed_data(before) == ()
    state = data_state(before)
    assert set(state) == {"case_main.SEEN", "case_main.A.cache"}
    main.run.__wrapped__(1)
    assert set(changed_data(before)) == {
        "case_main.SEEN", "case_main.TOTAL", "case_main.A.cache", "config.N",
    }  # fmt: skip
    after = data_state(before)
    assert {name for name in after if after[name] != state.get(name)} == set(changed_data(before))


def test_what_is_bound_anew_to_an_equal_value_has_not_changed(project: Project) -> None:
    main = project.load("LIMIT = [1]\n@task\ndef run(x): return LIMIT")
    before = code_version(main.run)
    main.LIMIT = [1]
    assert changed_data(before) == ()
    assert code_version(main.run).digest == before.digest


def test_what_is_only_written_to_is_no_data(project: Project) -> None:
    main = project.load(
        "LOG, N = [], 0\n@task\ndef run(x):\n  global N\n  N += 1\n  LOG.append(x)\n  return x"
    )
    before = code_version(main.run)
    main.run.__wrapped__(1)
    assert (main.LOG, main.N) == ([1], 1)
    assert changed_data(before) == ()
    assert code_version(main.run) is before
    main.LOG = []
    assert code_version(main.run) is before


def test_a_sink_of_another_type_is_read(project: Project) -> None:
    main = project.load(
        "class Log:\n  def append(self, x): pass\nLOG = Log()\n@task\ndef run(x): LOG.append(x)"
    )
    assert_seen(main.run, lambda: setattr(main.Log, "append", lambda self, x: 1))
    assert_seen(main.run, lambda: setattr(main, "LOG", []))


def test_counting_in_a_test_function_is_no_data() -> None:
    calls: list[int] = []
    count = 0

    def run(x: int) -> int:
        nonlocal count
        count += 1
        calls.append(x)
        return x

    task = Task(run)
    before = code_version(task)
    run(1)
    assert changed_data(before) == ()
    assert code_version(task) is before


def test_a_slow_global_is_named_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    main = project.load("BIG = {'a': 1}\n@task\ndef run(x): return BIG")
    code_version(main.run)
    monkeypatch.setattr(module, "SLOW_DATA", 0.0)
    with pytest.warns(UserWarning, match=r"case_main\.BIG"):
        code_version(main.run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code_version(main.run)


# Reports.


def test_parts_name_each_thing_with_a_digest_of_its_own(project: Project) -> None:
    main = project.load(
        "LIMIT = 3\nAPI_TOKEN = 'abc'\ndef h(x, k=1):\n    # why\n    return x + LIMIT + k\n"
        "@task\ndef run(x): return h(x), API_TOKEN"
    )
    before = {part.name: part for part in code_version(main.run).parts}
    assert before["case_main.h"].text == "def h(x, k=1):\n    # why\n    return x + LIMIT + k\n"
    assert before["case_main.run"].text == "@task\ndef run(x): return h(x), API_TOKEN\n"
    assert before["case_main.LIMIT"].text == "3"
    assert before["case_main.h(k)"].text == "1"
    assert "abc" not in str(before)
    main.LIMIT = 4
    after = {part.name: part for part in code_version(main.run).parts}
    assert [name for name in after if after[name] != before[name]] == ["case_main.LIMIT"]


def test_parts_fit_a_record(project: Project) -> None:
    main = project.load("@task\ndef run(x): return x")
    for part in code_version(main.run).parts:
        kind, name, own, text = part
        assert [type(field) for field in (kind, name, own, text)] == [str, str, bytes, str]
        assert len(own) == 16


def test_previews_call_no_code_of_users(project: Project) -> None:
    main = project.load(
        "class A:\n  def __repr__(self): raise AssertionError\nVALUES = {'a': [A(), 'x' * 999]}\n"
        "@task\ndef run(x): return VALUES"
    )
    text = next(
        part.text for part in code_version(main.run).parts if part.name == "case_main.VALUES"
    )
    assert "<A>" in text
    assert len(text) <= 120


def test_what_cannot_be_resolved_is_reported(project: Project) -> None:
    main = project.load(
        """
        import threading, missing_config as config
        LOCK = threading.Lock()
        FILE = open(__file__)
        @task
        def run(x, name):
            with LOCK:
                return getattr(x, name), FILE, config.NOTHING, unknown
        """,
        missing_config="",
    )
    untracked = code_version(main.run).untracked
    main.FILE.close()
    assert [text.split(":")[0] for text in sorted(untracked)] == [
        "case_main.FILE", "case_main.run", "case_main.run", "missing_config.NOTHING",
    ]  # fmt: skip


def test_an_import_in_the_body_that_fails_is_reported(project: Project) -> None:
    main = project.load(
        "@task\ndef run(x):\n  import broken\n  return broken.f(x)", broken="raise ValueError"
    )
    assert any("broken" in text for text in code_version(main.run).untracked)


def test_modules_of_others_are_not_imported(project: Project) -> None:
    sys.modules.pop("wave", None)
    main = project.load("@task\ndef run(x):\n  import wave\n  return wave.open(x)")
    before = code_version(main.run).digest
    assert "wave" not in sys.modules
    importlib.import_module("wave")
    assert code_version(main.run).digest == before


def test_a_module_of_the_project_is_imported_for_the_key(project: Project) -> None:
    main = project.load(
        "@task\ndef run(x):\n  import helpers\n  return helpers.f(x)", helpers="def f(x): return 1"
    )
    code_version(main.run)
    assert "helpers" in sys.modules


# Other things.


def test_functions_classes_and_modules_have_versions(project: Project) -> None:
    main = project.load("import helpers\nclass A:\n  x = 1\ndef f(x): return A", helpers="N = 1")
    for thing in (main.f, main.A, main.helpers):
        version = code_version(thing)
        assert isinstance(version, CodeVersion)
        assert code_version(thing) is version
    before = code_version(main.helpers).digest
    main.helpers.N = 2
    assert code_version(main.helpers).digest != before


def test_what_is_foreign_is_walked_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    before = code_version(textwrap.dedent).digest
    assert digest(textwrap.dedent) != before
    monkeypatch.setattr(textwrap, "_whitespace_only_re", None)
    assert code_version(textwrap.dedent).digest != before
    assert code_version(textwrap) is code_version(textwrap)


def test_an_argument_of_a_project_class_counts_its_code(project: Project) -> None:
    main = project.load("class A:\n  def m(self): return 1")
    before = digest([main.A()])
    main.A.m = lambda self: 2
    assert digest([main.A()]) != before


def test_functions_with_cells_are_not_kept_alive() -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)

    def make(value: Big) -> Callable[[], Any]:
        return lambda: value

    digest([make(big)])
    del big
    gc.collect()
    assert gone() is None


def test_partials_count_by_what_they_carry() -> None:
    assert code_version(functools.partial(_module_level, 1)).digest != code_version(
        functools.partial(_module_level, 2)
    ).digest  # fmt: skip


def test_many_threads_see_one_version(project: Project) -> None:
    main = project.load("N = 1\ndef h(x): return N\n@task\ndef run(x): return h(x)")
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(code_version(main.run).digest))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_what_cannot_be_read_is_never_a_hit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = project.load("class A: pass\n@task\ndef run(x): return A")

    def broken(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError("no parts")

    monkeypatch.setattr(closure, "class_parts", broken)
    first, second = code_version(main.run), code_version(main.run)
    assert first.digest != second.digest
    assert "ZeroDivisionError" in second.untracked[0]


def test_a_class_that_holds_itself_is_no_endless_walk(project: Project) -> None:
    main = project.load(
        "class A:\n  pass\nA.me, A.all = A(), [A]\nA.me.me = A.me\nLOOP = []\nLOOP.append(LOOP)\n"
        "@task\ndef run(x): return A, LOOP"
    )
    assert code_version(main.run).digest == code_version(main.run).digest


class Defaulted(NamedTuple):
    """A namedtuple with a default."""

    a: int
    b: int = 1


def makes_a_tuple(a: int) -> Defaulted:
    return Defaulted(a)


def test_the_defaults_of_a_namedtuple_are_not_digested_at_every_call() -> None:
    assert code_version(makes_a_tuple).data == ()


def test_the_defaults_of_a_namedtuple_count() -> None:
    def version(standard: int) -> bytes:
        class Made(NamedTuple):
            a: int
            b: int = standard

        def use() -> Any:
            return Made(1)

        return code_version(use).digest

    assert version(1) != version(2)
    assert version(1) == version(1)


def test_a_class_that_is_registered_with_an_abstract_base_is_seen(project: Project) -> None:
    main = project.load(
        """
        import abc
        class Shape(abc.ABC): pass
        class Square: pass
        @task
        def run(x): return isinstance(x, Shape)
        """
    )
    assert_seen(main.run, lambda: main.Shape.register(main.Square))


def test_a_look_into_the_loaded_modules_loads_none(project: Project) -> None:
    main = project.load(
        "import sys\n@task\ndef run(x): return sys.modules['case_looked_for'].go(x)",
        case_looked_for="def go(x): return x",
    )
    before = code_version(main.run)
    assert "case_looked_for" not in sys.modules
    importlib.import_module("case_looked_for")
    assert code_version(main.run).digest != before.digest


def test_an_object_without_a_digest_counts_by_the_code_of_its_class(project: Project) -> None:
    text = """
        import io
        class Log(io.StringIO):
            __slots__ = ()
            def __reduce_ex__(self, protocol): raise TypeError
            def tag(self): return 1
        LOG = (Log(), 2)
        @task
        def run(x): return LOG[0].tag()
        """
    main = project.load(text)
    assert_seen(main.run, lambda: setattr(main.Log, "tag", lambda self: 2))


def test_compiled_code_in_a_global_counts_by_what_it_does(project: Project) -> None:
    main = project.load(
        "CODE = compile('x + 1', 'f', 'eval')\n@task\ndef run(x): return eval(CODE)"
    )
    first = code_version(main.run).digest
    assert_seen(main.run, lambda: setattr(main, "CODE", compile("x + 2", "f", "eval")))
    main.CODE = compile("(x + 1)  # so", "g", "eval")
    assert code_version(main.run).digest == first


def test_what_torch_has_compiled_counts_by_its_code(project: Project) -> None:
    torch = pytest.importorskip("torch")
    main = project.load(
        """
        import torch
        def plus(x: torch.Tensor) -> torch.Tensor:
            return x + 1
        def minus(x: torch.Tensor) -> torch.Tensor:
            return x - 1
        @task
        def run(x): return compiled(x)
        """
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plus, minus = torch.jit.script(main.plus), torch.jit.script(main.minus)
    main.compiled = plus
    assert_seen(main.run, lambda: setattr(main, "compiled", minus))
