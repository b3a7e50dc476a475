"""The command line as a shell sees it: text out, exit codes, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tasklineage.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
MAIN = "from tasklineage.cli.main import main; main()"

SCRIPT = '''
import sys
import tasklineage as tl
from tasklineage import task

@task
def double(x: int) -> int:
    print("doubling", x)
    return 2 * x

@task
def total(xs: list[int], scale: float = 1.0) -> dict:
    """Add up the doubles.

    At length.
    """
    return {"sum": sum(double(x) for x in xs) * scale, "n": len(xs)}

@task
def broken(why: str = "no reason") -> None:
    print("about to fail", file=sys.stderr)
    raise ValueError(why)

def plain(n: int = 3) -> list:
    return list(tl.map(double, range(n)))

@task
def array(n: int) -> "np.ndarray":
    import numpy as np
    return np.arange(n)

if __name__ == "__main__":
    print(total([int(word) for word in sys.argv[1:]] or [1, 2]))
'''


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


class Shell:
    """A folder with a script in it, and its default store."""

    def __init__(self, folder: Path, bytecode: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        left_out = ("TASKLINEAGE_STORE", "PYTHONDONTWRITEBYTECODE")
        self.environment = {k: v for k, v in os.environ.items() if k not in left_out}
        self.environment |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(bytecode)}

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-c", MAIN, *args]

    def __call__(self, *args: str, code: int = 0, env: dict[str, str] | None = None) -> Done:
        """Run `tasklineage ARGS` in a process of its own; it must exit with `code`."""
        return self.run(self.command(*args), code, env)

    def ask(self, *args: str, code: int = 0) -> Done:
        """Run `tasklineage ARGS`, a command that reads, in this process."""
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(args)
        printed = self.capsys.readouterr()
        assert (ended.value.code or 0) == code, (ended.value.code, printed)
        return Done(printed.out, printed.err)

    def json(self, *args: str, key: str) -> Any:
        answer = json.loads(self.ask(*args, "--json").stdout)
        assert answer["version"] == 1
        return answer[key]

    def python(self, *args: str, code: int = 0) -> Done:
        return self.run([sys.executable, *args], code)

    def run(self, command: list[str], code: int, env: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | (env or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return Done(done.stdout, done.stderr)


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled modules are kept from one process to the next: most of a start is that."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def shell(
    tmp_path: Path,
    bytecode: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    monkeypatch.delenv("TASKLINEAGE_STORE")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(SCRIPT, "utf-8")
    return Shell(tmp_path, bytecode, capsys)


def test_a_script_runs_as_the_interpreter_would_run_it(shell: Shell) -> None:
    first = shell("run", "flow.py", "3", "4")
    assert first.stdout == "doubling 3\ndoubling 4\n{'sum': 14.0, 'n': 2}\n"
    assert "(flow): executed 3, hits 0, failed 0" in first.stderr
    second = shell("run", "flow.py", "3", "4")
    assert second.stdout == "{'sum': 14.0, 'n': 2}\n"
    assert "(flow): executed 0, hits 1, failed 0" in second.stderr
    assert shell.python("flow.py", "3", "4").stdout == second.stdout
    (run, *_) = shell.json("runs", key="runs")
    assert (run["name"], run["status"], run["hits"]) == ("flow", "done", 1)


def test_options_of_run_may_stand_before_or_after_the_file(shell: Shell) -> None:
    shell("run", "--store", "a", "--quiet", "flow.py", "3", "--tag", "nightly", "--executor=inline")
    assert not (shell.folder / ".tasklineage").exists()
    (run,) = shell.json("runs", "--store", "a", "--tag", "nightly", key="runs")
    assert run["tags"] == ["nightly"]


def test_quiet_captures_and_echoes_nothing(shell: Shell) -> None:
    done = shell("run", "--quiet", "flow.py", "5")
    assert done.stdout == "{'sum': 10.0, 'n': 1}\n"
    assert done.stderr == ""
    (call,) = shell.json("calls", "--task", "double", key="calls")
    assert shell.ask("logs", call["id"]).stdout == "doubling 5\n"


def test_what_follows_two_dashes_is_the_scripts(shell: Shell) -> None:
    (shell.folder / "echo.py").write_text("import sys; print(sys.argv)", "utf-8")
    done = shell("run", "echo.py", "--x", "1", "--", "--quiet", "--store")
    assert done.stdout == "['echo.py', '--x', '1', '--quiet', '--store']\n"
    assert not (shell.folder / ".tasklineage").exists()


def test_a_task_is_called_with_its_parameters(shell: Shell) -> None:
    done = shell("run", "flow.py:total", "--xs", "[1, 2]", "--scale", "0.5")
    assert done.stdout.splitlines()[-1] == "{'sum': 3.0, 'n': 2}"
    (run,) = shell.json("runs", key="runs")
    assert (run["name"], run["status"], run["executed"]) == ("flow", "done", 3)
    shown = shell.json("show", run["id"], key="run")
    assert shown["params"]["scale"]["value"] == 0.5
    assert shown["params"]["xs"]["preview"] == "[1, 2]"
    again = shell("run", "flow.py:total", "--xs", "[1, 2]", "--scale=0.5")
    assert "executed 0, hits 1" in again.stderr
    assert "doubling" not in again.stdout


def test_a_plain_function_is_called_in_a_run(shell: Shell) -> None:
    (shell.folder / "n.json").write_text("[7, 8]", "utf-8")
    assert shell("run", "flow.py:plain", "--max-workers", "2").stdout.endswith("[0, 2, 4]\n")
    assert shell("run", "flow.py:total", "--xs", "@n.json").stdout.endswith("'n': 2}\n")


def test_the_environment_gives_defaults(shell: Shell) -> None:
    given = {"TASKLINEAGE_PARAM_XS": "[3]", "TASKLINEAGE_PARAM_SCALE": "10"}
    assert "60.0" in shell("run", "flow.py:total", env=given).stdout
    assert "6.0" in shell("run", "flow.py:total", "--scale", "1", env=given).stdout


def test_help_of_a_task_lists_its_parameters(shell: Shell) -> None:
    done = shell("run", "flow.py:total", "--help")
    assert "--xs" in done.stdout
    assert "Add up the doubles." in done.stdout
    assert "TASKLINEAGE_PARAM_SCALE" in done.stdout
    assert not (shell.folder / ".tasklineage").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("run", "nowhere.py"), "no file nowhere.py"),
        (("run", "flow.py:nothing"), "has no function nothing; it has: double, total"),
        (("run", "flow.py:total"), "--xs"),
        (("run", "flow.py:total", "--xs", "1,2"), "is not JSON"),
        (("run", "flow.py:total", "--xs", "[1]", "--no-such"), "--no-such"),
        (("run", "flow.py:plain", "--executor", "nonsense"), "nonsense"),
        (("run", "flow.py", "--max-workers", "many"), "--max-workers"),
        (("run", "--executor", "inline", "--max-workers", "2", "flow.py"), "inline"),
        (("worker", "tcp://127.0.0.1:1", "--memory", "lots"), "--memory 'lots'"),
        (("run",), "FILE.py"),
        (("nonsense",), "nonsense"),
        (("runs", "--nonsense"), "--nonsense"),
    ],
)
def test_wrong_usage_exits_with_2(shell: Shell, args: tuple[str, ...], message: str) -> None:
    done = shell(*args, code=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failed_run_exits_with_1_and_shows_the_users_traceback(shell: Shell) -> None:
    done = shell("run", "flow.py:broken", "--why", "bad data", code=1)
    assert "ValueError: bad data" in done.stderr
    assert "in broken" in done.stderr
    assert "tasklineage/" not in done.stderr.replace(str(shell.folder), "")
    (run,) = shell.json("runs", "--status", "failed", key="runs")
    assert run["failed"] == 1
    assert "about to fail" in shell.ask("logs", run["id"]).stdout
    (call,) = shell.json("calls", "--status", "failed", key="calls")
    shown = shell.ask("show", call["id"]).stdout
    assert "ValueError: bad data" in shown
    assert shell.json("show", call["id"], key="call")["error"]["type"] == "ValueError"
    assert "no result" in shell.ask("dump", call["id"], code=3).stderr


def test_a_script_that_fails_leaves_a_failed_run(shell: Shell) -> None:
    (shell.folder / "bad.py").write_text(
        "from tasklineage import task\n@task\ndef f(): return 1\nf()\n1 / 0\n", "utf-8"
    )
    done = shell("run", "bad.py", code=1)
    assert 'bad.py", line 5' in done.stderr
    assert "execute.py" not in done.stderr
    (run,) = shell.json("runs", key="runs")
    assert run["status"] == "failed"


def test_a_scripts_own_exit_code_is_passed_on(shell: Shell) -> None:
    (shell.folder / "bad.py").write_text(
        "import sys\nfrom tasklineage import task\n@task\ndef f(): return 1\nf()\nsys.exit(7)\n",
        "utf-8",
    )
    shell("run", "bad.py", code=7)
    (run,) = shell.json("runs", key="runs")
    assert run["status"] == "failed"


def test_a_file_that_cannot_be_loaded_shows_its_own_error(shell: Shell) -> None:
    (shell.folder / "syntax.py").write_text("def f(:\n", "utf-8")
    for target in ("syntax.py", "syntax.py:f"):
        done = shell("run", target, code=1)
        assert "SyntaxError" in done.stderr
        assert "execute.py" not in done.stderr


SLOW = """
import time
from tasklineage import task

@task
def wait() -> None:
    print("begun", flush=True)
    time.sleep(60)

wait()
"""


@pytest.mark.parametrize(
    ("sent", "code", "run_status", "call_status"),
    [
        (signal.SIGINT, 130, "interrupted", "cancelled"),
        (signal.SIGKILL, -signal.SIGKILL, "killed", "lost"),
    ],
)
def test_a_run_that_is_stopped_says_so(
    shell: Shell, sent: signal.Signals, code: int, run_status: str, call_status: str
) -> None:
    (shell.folder / "slow.py").write_text(SLOW, "utf-8")
    with subprocess.Popen(
        shell.command("run", "slow.py"),
        cwd=shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        (run,) = shell.json("runs", "--status", "running", key="runs")
        (call,) = shell.json("calls", "--status", "running", key="calls")
        process.send_signal(sent)
        assert process.wait(30) == code
    assert [r["id"] for r in shell.json("runs", "--status", run_status, key="runs")] == [run["id"]]
    found = shell.json("calls", "--status", call_status, key="calls")
    assert [c["id"] for c in found] == [call["id"]]


def test_a_file_of_a_package_is_loaded_as_its_module(shell: Shell) -> None:
    package = shell.folder / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "numbers.py").write_text("N = 4\n", "utf-8")
    (package / "main.py").write_text(
        "from tasklineage import task\nfrom .numbers import N\n"
        "@task\ndef f(x: int = N) -> int:\n    return x + N\n",
        "utf-8",
    )
    assert shell("run", "pkg/main.py:f").stdout == "8\n"
    (call,) = shell.json("calls", key="calls")
    assert call["task"] == "pkg.main.f"


def test_runs_calls_and_show_are_tables_for_people(shell: Shell) -> None:
    shell("run", "flow.py", "3")
    runs = shell.ask("runs").stdout.splitlines()
    assert runs[0].split()[:3] == ["run", "name", "status"]
    run = runs[1].split()[0]
    assert "flow" in runs[1]
    calls = shell.ask("calls").stdout
    assert "__main__.double" in calls
    assert "__main__.total" in calls
    shown = shell.ask("show", run).stdout
    assert "command" in shown
    assert "__main__.total" in shown
    total = next(c for c in shell.json("calls", key="calls") if c["parent"] is None)
    shown = shell.ask("show", total["id"]).stdout
    assert "arg xs" in shown
    assert "children" in shown


def test_an_artifact_is_shown_with_its_producers(shell: Shell) -> None:
    shell("run", "flow.py:total", "--xs", "[5]")
    (call,) = shell.json("calls", "--task", "total", key="calls")
    output = shell.json("show", call["id"], key="call")["output"]
    assert shell.json("show", output["digest"], key="kind") == "artifact"
    assert "producers" in shell.ask("show", output["digest"]).stdout
    assert json.loads(shell.ask("dump", output["digest"]).stdout) == {"sum": 10.0, "n": 1}


def test_dump_hands_out_results(shell: Shell, tmp_path: Path) -> None:
    shell("run", "flow.py:total", "--xs", "[1]")
    (run,) = shell.json("runs", key="runs")
    assert json.loads(shell.ask("dump", run["id"]).stdout) == {"sum": 2.0, "n": 1}
    assert shell.json("dump", run["id"], key="value") == {"sum": 2.0, "n": 1}
    shell.ask("dump", run["id"], "--output", "out.json")
    assert json.loads((shell.folder / "out.json").read_text("utf-8")) == {"sum": 2.0, "n": 1}


def test_dump_writes_arrays(shell: Shell) -> None:
    np = pytest.importorskip("numpy", reason="the value is an array")
    shell("run", "flow.py:array", "--n", "3")
    (call,) = shell.json("calls", key="calls")
    assert "array([0, 1, 2])" in shell.ask("dump", call["id"]).stdout
    shell.ask("dump", call["id"], "-o", "a.npy")
    assert np.load(shell.folder / "a.npy").tolist() == [0, 1, 2]


def test_without_a_store_reading_exits_with_3_and_makes_none(shell: Shell) -> None:
    for args in (("runs",), ("calls",), ("show", "00"), ("logs", "00"), ("dump", "00")):
        done = shell.ask(*args, code=3)
        assert "no store" in done.stderr
    assert shell.ask("runs", "--store", "nowhere", code=3).stdout == ""
    assert {path.name for path in shell.folder.iterdir()} == {"flow.py"}


def test_what_is_not_there_exits_with_3_and_what_is_ambiguous_with_2(shell: Shell) -> None:
    shell("run", "flow.py", "1", "2", "3")
    assert "no run, call or artifact" in shell.ask("show", "f" * 32, code=3).stderr
    (run,) = shell.json("runs", key="runs")
    assert "begins several ids" in shell.ask("show", run["id"][:3], code=2).stderr


def test_filters_reach_the_index(shell: Shell) -> None:
    shell("run", "flow.py", "1", "2", "3")
    assert len(shell.json("calls", "--task", "double", "--limit", "2", key="calls")) == 2
    assert len(shell.json("calls", "--limit", "0", key="calls")) == 4
    assert shell.json("runs", "--since", "1h", "--name", "flow", key="runs")
    assert shell.json("runs", "--since", "2100-01-01", key="runs") == []
    assert shell.json("runs", "--namespace", "user:nobody", key="runs") == []
    assert "no runs found" in shell.ask("runs", "--name", "x").stderr
    (run,) = shell.json("runs", key="runs")
    assert len(shell.json("calls", "--run", run["id"][:14], key="calls")) == 4
    assert "ISO 8601" in shell.ask("runs", "--since", "soon", code=2).stderr


def test_corruption_exits_with_5(shell: Shell) -> None:
    (shell.folder / "big.py").write_text(
        "from tasklineage import task\n@task\ndef f(): return 'x' * 100_000\nf()\n", "utf-8"
    )
    shell("run", "big.py")
    (call,) = shell.json("calls", key="calls")
    objects = [p for p in (shell.folder / ".tasklineage/objects").rglob("*") if p.is_file()]
    stored = max(objects, key=lambda path: path.stat().st_size)
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(content)
    assert "Traceback" not in shell.ask("dump", call["id"], code=5).stderr


def test_a_reader_that_leaves_early_is_no_error(shell: Shell) -> None:
    shell("run", "flow.py", *map(str, range(300)))
    command = " ".join(f"'{word}'" for word in shell.command("calls", "--limit", "0", "--json"))
    done = shell.run(["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"], 0)
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_no_color_is_respected_and_pipes_get_plain_text(shell: Shell) -> None:
    shell("run", "flow.py", "1")
    assert "\x1b" not in shell("runs", env={"NO_COLOR": "1"}).stdout
    assert "\x1b" not in shell("runs").stdout


def test_help_lists_the_commands(shell: Shell) -> None:
    printed = shell.ask("--help").stdout
    for command in ("run", "runs", "show", "calls", "logs", "dump"):
        assert f"  {command} " in printed


def test_a_script_with_tl_cli_has_options(shell: Shell) -> None:
    (shell.folder / "app.py").write_text(
        SCRIPT.partition("if __name__")[0]
        + "def main(n: int, rate: float = 0.5, *, loud: bool = False) -> int:\n"
        + "    '''Compute.'''\n"
        + "    if loud:\n        raise RuntimeError('too loud')\n"
        + "    return double(n)\n\n"
        + "if __name__ == '__main__':\n    print('got', tl.cli(main))\n",
        "utf-8",
    )
    done = shell.python("app.py", "--n", "4")
    assert done.stdout == "doubling 4\ngot 8\n"
    (run,) = shell.json("runs", "--name", "app", key="runs")
    shown = shell.json("show", run["id"], key="run")
    assert {name: a["value"] for name, a in shown["params"].items()} == {
        "n": 4, "rate": 0.5, "loud": False,
    }  # fmt: skip
    failed = shell.python("app.py", "--n", "4", "--loud", code=1)
    assert "RuntimeError: too loud" in failed.stderr
    assert "in main" in failed.stderr
    assert "params.py" not in failed.stderr
    assert shell.json("runs", "--status", "failed", key="runs")
    assert "--no-loud" in shell.python("app.py", "--help").stdout
    assert "got 8" in shell("run", "app.py", "--n", "4").stdout


def test_tl_cli_takes_async_functions_and_tasks(shell: Shell) -> None:
    (shell.folder / "app.py").write_text(
        "import tasklineage as tl\nfrom tasklineage import task\n"
        "@task\nasync def fetch(n: int = 1) -> int:\n    return n + 1\n"
        "async def main(n: int = 1) -> int:\n    return await fetch(n)\n"
        "print(tl.cli(main), tl.cli(fetch))\n",
        "utf-8",
    )
    assert shell.python("app.py", "--n", "5").stdout == "6 6\n"
