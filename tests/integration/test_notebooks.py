"""Tasks defined in cells: restarts, edits, classes, output, interrupts; in real kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasklineage as tl
from tests.integration.kernels import kernel, run_all

pytestmark = pytest.mark.slow

IMPORTS = "import tasklineage as tl\nfrom tasklineage import task"
HELPER = "def rate(text):\n    return len(text)"
TASK = "@task\ndef score(text):\n    return rate(text) * 2"
CALLER = "@task\ndef best(texts):\n    return max(score(text) for text in texts)"
CALL = "best(['a', 'bb', 'ccc'])"


def counts() -> tuple[int, int]:
    """(executed, hits) of the newest run."""
    run = tl.runs(limit=1)[0]
    return run.executed, run.hits


def test_a_restarted_kernel_executes_nothing_again(tmp_path: Path) -> None:
    cells = (IMPORTS, HELPER, TASK, CALLER, CALL)
    first = run_all(tmp_path, *cells)
    assert counts() == (4, 0)
    assert run_all(tmp_path, *cells)[-1].displays == first[-1].displays
    assert counts() == (0, 1)
    assert [run.status for run in tl.runs()] == ["done", "done"]


def test_cells_inserted_moved_merged_and_reformatted_execute_nothing(tmp_path: Path) -> None:
    run_all(tmp_path, IMPORTS, HELPER, TASK, CALLER, CALL)
    run_all(tmp_path, "x = 1", IMPORTS, "x += 1", HELPER, TASK, CALLER, "x", CALL)
    assert counts() == (0, 1)
    run_all(tmp_path, "\n\n".join((IMPORTS, CALLER, TASK, HELPER, CALL)))
    assert counts() == (0, 1)
    commented = TASK.replace("    return", '    """Twice."""\n    # the rate\n    return')
    run_all(tmp_path, IMPORTS, HELPER, commented.replace("rate(text) * 2", "(\n rate(text)\n *2)"),
            CALLER.replace("    ", "  "), CALL)  # fmt: skip
    assert counts() == (0, 1)


def test_a_cell_magic_and_a_run_of_the_same_cell_twice_change_nothing(tmp_path: Path) -> None:
    run_all(tmp_path, IMPORTS, HELPER, TASK, CALLER, CALL)
    run_all(tmp_path, IMPORTS, HELPER, HELPER, "%%time\n" + TASK, TASK, CALLER, CALL, CALL)
    assert counts() == (0, 2)


@pytest.mark.parametrize(
    ("cell", "executed"),
    [
        (HELPER.replace("len(text)", "len(text) + 1"), 4),
        (TASK.replace("* 2", "* 3"), 4),
        (CALLER.replace("max", "min"), 1),
    ],
    ids=["helper", "task", "caller"],
)
def test_a_redefined_function_executes_itself_and_its_callers(
    tmp_path: Path, cell: str, executed: int
) -> None:
    with kernel(tmp_path) as session:
        for source in (IMPORTS, HELPER, TASK, CALLER, CALL):
            session.run(source)
        before = counts()[0]
        session.run(cell)
        session.run(CALL)
        assert counts()[0] - before == executed
        session.run(CALL)
        assert counts()[0] - before == executed


def test_a_function_redefined_and_put_back_hits(tmp_path: Path) -> None:
    with kernel(tmp_path) as session:
        for source in (IMPORTS, HELPER, TASK, CALLER, CALL):
            session.run(source)
        session.run(HELPER.replace("len(text)", "0"))
        assert session.run(CALL).displays == [{"text/plain": "0"}]
        session.run(HELPER)
        executed = counts()[0]
        assert session.run(CALL).displays == [{"text/plain": "6"}]
        assert counts()[0] == executed


def test_names_used_again_in_another_notebook_are_other_tasks(tmp_path: Path) -> None:
    mine = (IMPORTS, "@task\ndef clean(x):\n    return x + 1", "clean(1)")
    theirs = (IMPORTS, "@task\ndef clean(x):\n    return x - 1", "clean(1)")
    assert run_all(tmp_path, *mine)[-1].displays == [{"text/plain": "2"}]
    assert run_all(tmp_path, *theirs)[-1].displays == [{"text/plain": "0"}]
    assert run_all(tmp_path, *mine)[-1].displays == [{"text/plain": "2"}]
    assert [(run.executed, run.hits) for run in tl.runs()] == [(0, 1), (1, 0), (1, 0)]


def test_the_history_of_the_notebook_never_counts(tmp_path: Path) -> None:
    define = (
        IMPORTS,
        "rate = 2\n@task\ndef computed(n):\n    return eval('n * rate')",
        "@task\ndef shell(n):\n    return list(get_ipython().getoutput('echo {n} {rate}'))",
    )
    with kernel(tmp_path) as session:
        for source in define:
            session.run(source)
        for _ in range(2):
            assert session.run("computed(3)").displays == [{"text/plain": "6"}]
            assert session.run("shell(3)").displays == [{"text/plain": "['3 2']"}]
        assert counts() == (2, 2)
        session.run("rate = 5")
        assert session.run("computed(3)").displays == [{"text/plain": "15"}]
        assert session.run("shell(3)").displays == [{"text/plain": "['3 5']"}]
    run_all(tmp_path, "1 + 1", *define, "2", "computed(3)", "shell(3)")
    assert counts() == (0, 2)


DATACLASS = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0
    def norm(self):
        return abs(self.x) + abs(self.y)
"""
PLAIN = """
class Box:
    def __init__(self, inside):
        self.inside = inside
"""


def test_classes_of_cells_are_arguments_and_results(tmp_path: Path) -> None:
    move = "@task\ndef move(point, by):\n    return Point(point.x + by, point.y)"
    wrap = "@task\ndef wrap(point):\n    return Box([point.norm()])"
    cells = (IMPORTS, DATACLASS, PLAIN, move, wrap, "p = move(Point(1), 2)", "wrap(p).inside, p")
    first = run_all(tmp_path, *cells)
    assert first[-1].displays == [{"text/plain": "([3], Point(x=3, y=0))"}]
    assert counts() == (2, 0)
    assert run_all(tmp_path, *cells)[-1].displays == first[-1].displays
    assert counts() == (0, 2)


def test_a_changed_class_executes_what_takes_or_makes_it(tmp_path: Path) -> None:
    body = (
        IMPORTS,
        "@task\ndef norm(point):\n    return point.norm()",
        "@task\ndef other(x):\n    return x",
    )
    with kernel(tmp_path) as session:
        for source in (*body, DATACLASS, "other(1); norm(Point(1, -2))"):
            session.run(source)
        session.run(DATACLASS)
        assert session.run("norm(Point(1, -2))").displays == [{"text/plain": "3"}]
        assert counts() == (2, 1)
        session.run(DATACLASS.replace("abs(self.x) +", "10 * abs(self.x) +"))
        assert session.run("norm(Point(1, -2))").displays == [{"text/plain": "12"}]
        assert counts() == (3, 1)
        session.run("other(1)")
        assert counts() == (3, 2)


def test_an_instance_outlives_the_cell_that_defined_its_class(tmp_path: Path) -> None:
    with kernel(tmp_path) as session:
        session.run(IMPORTS)
        session.run(DATACLASS)
        session.run("@task\ndef same(p):\n    return p\n\np = Point(1, 2)")
        session.run(DATACLASS)
        assert session.run("same(p)").displays == [{"text/plain": "Point(x=1, y=2)"}]
        assert session.run("same(p)").displays == [{"text/plain": "Point(x=1, y=2)"}]
        assert counts() == (1, 1)
        assert session.run("same(Point(1, 2))").displays == [{"text/plain": "Point(x=1, y=2)"}]


def test_results_of_classes_of_cells_can_be_read_after_a_restart(tmp_path: Path) -> None:
    make = "@task\ndef make():\n    return {'p': Point(3), 'b': Box([1])}"
    run_all(tmp_path, IMPORTS, DATACLASS, PLAIN, make, "make();")
    read = "r = tl.calls(task='make')[0].result; (r['p'], r['b'].inside)"
    assert run_all(tmp_path, IMPORTS, DATACLASS, PLAIN, read)[-1].displays == [
        {"text/plain": "(Point(x=3, y=0), [1])"}
    ]
    with kernel(tmp_path) as session:
        session.run(IMPORTS)
        output = session.try_to_run(read)
    assert output.error == "Undecodable"
    assert "define or import its class first" in output.traceback
    assert counts() == (1, 0)


def test_a_reloaded_module_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text("def price(x):\n    return x * 10\n")
    with kernel(tmp_path) as session:
        session.run(IMPORTS + "\nimport importlib, shop, sys\nsys.dont_write_bytecode = True")
        session.run("@task\ndef total(x):\n    return shop.price(x)")
        assert session.run("total(2)").displays == [{"text/plain": "20"}]
        module.write_text("def price(x):\n    return x * 100\n")
        assert session.run("total(2)").displays == [{"text/plain": "20"}]
        assert counts() == (1, 1)
        session.run("importlib.reload(shop);")
        assert session.run("total(2)").displays == [{"text/plain": "200"}]
        assert counts() == (2, 1)


@pytest.mark.parametrize("how", ["import shop", "from shop import price"])
def test_autoreload_is_seen(tmp_path: Path, how: str) -> None:
    module = tmp_path / "shop.py"
    module.write_text("def price(x):\n    return x * 10\n")
    called = "shop.price" if how == "import shop" else "price"
    with kernel(tmp_path) as session:
        session.run(IMPORTS + "\nimport sys\nsys.dont_write_bytecode = True")
        session.run("%load_ext autoreload\n%autoreload 2")
        session.run(how)
        session.run(f"@task\ndef total(x):\n    return {called}(x)")
        assert session.run("total(2)").displays == [{"text/plain": "20"}]
        module.write_text("def price(x):\n    return x * 100 + 0\n")
        assert session.run("total(2)").displays == [{"text/plain": "200"}]
        assert counts() == (2, 0)


def test_maps_and_coroutines_run_in_the_loop_of_the_kernel(tmp_path: Path) -> None:
    define = (
        IMPORTS + "\nimport asyncio",
        "@task\nasync def fetch(n):\n    await asyncio.sleep(0)\n    return n * 2",
        "@task\ndef plain(n):\n    return n + 1",
    )
    calls = {
        "await tl.amap(fetch, range(3))": "[0, 2, 4]",
        "await fetch(5)": "10",
        "tl.map(fetch, range(4)).results()": "[0, 2, 4, 6]",
        "tl.map(plain, tl.map(fetch, range(5))).results()": "[1, 3, 5, 7, 9]",
        "await tl.amap(plain, range(3))": "[1, 2, 3]",
        "fetch.submit(9).result()": "18",
        "await fetch.submit(10)": "20",
        "await plain.submit(10)": "11",
        "tl.gather(fetch.bind(1), plain.bind(1))": "(2, 2)",
        "sum(await asyncio.gather(*[fetch(n) for n in range(20, 25)]))": "220",
    }
    outputs = run_all(tmp_path, *define, *calls)
    shown = [output.displays[-1]["text/plain"] for output in outputs[3:]]
    assert shown == list(calls.values())


def test_what_a_call_prints_is_shown_in_its_cell_and_recorded(tmp_path: Path) -> None:
    say = """
@task
def say(n):
    sys.stdout.write(f'out {n}\\n')
    sys.stderr.write(f'err {n}\\n')
"""
    calls = ("say(0);", "tl.map(say, [1, 2, 3]).results();", "say(0);")
    direct, mapped, again = run_all(tmp_path, IMPORTS + "\nimport sys", say, *calls)[2:]
    assert (direct.stdout, direct.stderr) == ("out 0\n", "err 0\n")
    assert sorted(mapped.stdout.split("\n")) == ["", "out 1", "out 2", "out 3"]
    assert sorted(mapped.stderr.split("\n")) == ["", "err 1", "err 2", "err 3"]
    assert (again.stdout, again.stderr) == ("", "")
    printed = sorted(call.stdout + call.stderr for call in tl.calls(task="say", status="done"))
    assert printed == [f"out {n}\nerr {n}\n" for n in range(4)]


def test_displays_of_a_task_are_shown(tmp_path: Path) -> None:
    cells = (IMPORTS, "@task\ndef show(n):\n    display(n)\n    return n", "show(1);")
    assert run_all(tmp_path, *cells)[-1].displays == [{"text/plain": "1"}]


def test_a_map_may_outlive_its_cell_and_print(tmp_path: Path) -> None:
    with kernel(tmp_path) as session:
        session.run(IMPORTS + "\nimport threading\ngo = threading.Event()")
        session.run("@task(ignore=('go',))\ndef say(n, go):\n    go.wait(60)\n    print('n', n)")
        session.run("fan = tl.map(say, range(3), go=go)")
        assert session.run("print('meanwhile')").stdout == "meanwhile\n"
        session.run("go.set(); fan.results()")
        assert session.run("print('after')").stdout == "after\n"
    assert [call.stdout for call in sorted(tl.calls(task="say"), key=lambda c: c.position)] == [
        "n 0\n", "n 1\n", "n 2\n",
    ]  # fmt: skip


COUNTING = """
published = []
publish = get_ipython().display_pub.publish
def counting(*args, **kwargs):
    published.append(time.monotonic())
    return publish(*args, **kwargs)
get_ipython().display_pub.publish = counting
"""


def test_progress_is_one_output_that_changes_seldom(tmp_path: Path) -> None:
    with kernel(tmp_path, TASKLINEAGE_PROGRESS="1") as session:
        session.run(IMPORTS + "\nimport time" + COUNTING)
        session.run("@task\ndef nap(n):\n    time.sleep(0.01)\n    return n")
        session.run("begin = time.monotonic()")
        output = session.run("r = tl.map(nap, iter(range(200)), max_workers=2).results()")
        took = float(session.run("time.monotonic() - begin").displays[0]["text/plain"])
        drawn = int(session.run("len(published)").displays[0]["text/plain"])
        assert 2 <= drawn <= took * 10 + 2
        assert len(output.displays) == 1
        assert output.displays[0]["text/plain"].startswith("nap 200/200 200 executed")
        assert '<progress value="200" max="200">' in output.displays[0]["text/html"]


def test_an_interrupted_map_keeps_what_was_finished(tmp_path: Path) -> None:
    define = (
        IMPORTS + "\nimport os, signal, time",
        "@task(ignore=('hook',))\ndef slow(n, hook):\n    time.sleep(0.01)\n    return hook(n)",
        "def interrupt(n):\n    n == 5 and os.kill(os.getpid(), signal.SIGINT)\n    return str(n)",
    )
    with kernel(tmp_path) as session:
        for source in define:
            session.run(source)
        output = session.try_to_run(
            "tl.map(slow, range(40), hook=interrupt, max_workers=1).results()"
        )
        assert output.error == "KeyboardInterrupt"
        finished, _ = counts()
        assert 5 <= finished < 40
        result = session.run("tl.map(slow, range(40), hook=str, max_workers=1).results()[-1]")
        assert result.displays == [{"text/plain": "'39'"}]
        assert counts() == (40, finished)


def test_a_figure_is_shown_also_where_it_comes_from_a_memo(tmp_path: Path) -> None:
    draw = "figure, axes = plt.subplots()\n    axes.plot([n, 2])\n    plt.close(figure)"
    cells = (
        IMPORTS + "\nimport matplotlib.pyplot as plt",
        f"@task\ndef chart(n):\n    {draw}\n    return figure",
        "chart(1)",
        "tl.calls(task='chart')[0].output",
    )
    for executed in (1, 0):
        *_, figure, artifact = run_all(tmp_path, *cells)
        assert counts() == (executed, 1 - executed)
        assert "image/png" in figure.displays[0]
        assert "data:image/png;base64," in artifact.displays[0]["text/html"]


def test_runs_calls_values_and_maps_show_themselves(tmp_path: Path) -> None:
    body = "if n == 2:\n        raise ValueError('<b>two</b>')\n    return [n] * 3"
    cells = (
        IMPORTS,
        f"@task\ndef triple(n):\n    {body}",
        "with tl.run('shown', params={'n': 3}) as run:\n"
        "    fan = tl.map(triple, range(3), on_error='collect')",
        "fan", "run", "run.calls", "run['triple']", "run.calls[0].output", "tl.runs()[:1]",
    )  # fmt: skip
    outputs = run_all(tmp_path, *cells)[3:]
    pages = [output.displays[0]["text/html"] for output in outputs]
    assert all("text/plain" in output.displays[0] for output in outputs)
    assert "0 hits, 3 executed, 1 failed" in pages[0]
    assert "&lt;b&gt;two&lt;/b&gt;" in pages[0]
    for page, part in zip(pages[1:], ("n=3", "n=1", "triple", "[0, 0, 0]", "shown"), strict=True):
        assert part in page
    assert not any("<script" in page or "<b>two" in page for page in pages)


def test_the_run_is_named_after_the_notebook(tmp_path: Path) -> None:
    cells = (IMPORTS, "@task\ndef f():\n    return 1", "f()")
    run_all(tmp_path, *cells)
    run_all(tmp_path, *cells, JPY_SESSION_NAME=str(tmp_path / "churn model.ipynb"))
    vscode = f"__vsc_ipynb_file__ = {str(tmp_path / 'sales.v2.ipynb')!r}"
    run_all(tmp_path, vscode, *cells)
    assert [run.name for run in tl.runs()] == ["sales.v2", "churn model", "notebook"]
