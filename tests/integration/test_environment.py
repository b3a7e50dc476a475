"""What a run executed in: recorded for every run, printed by `tasklineage env`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import tasklineage as tl
from tasklineage import task
from tasklineage.core import environment as module
from tasklineage.core.environment import without_credentials


@task
def double(x: int) -> int:
    return 2 * x


def run_cli(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tasklineage.cli.main", *args],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_has_its_environment_also_while_it_goes_on() -> None:
    with tl.run() as run:
        double(1)
        during = run.environment
    assert during is not None
    assert during == run.environment
    assert during.python == sys.version.split()[0]
    assert during.implementation == sys.implementation.name
    assert during.cpus == os.cpu_count()
    assert run.cwd == os.getcwd()
    installed = {name: version for name, version, _ in during.distributions}
    for name in ("msgpack", "pytest", "numpy"):
        assert installed[name] == importlib.metadata.version(name)


def test_the_ambient_run_has_one_too() -> None:
    double(1)
    run = tl.current_run()
    assert run is not None
    assert run.environment is not None


def test_every_installed_distribution_is_there_with_its_version() -> None:
    found = {name: version for name, version, _ in module.distributions()}
    for distribution in importlib.metadata.distributions():
        name = module._normal(distribution.metadata["Name"])
        assert name in found
    assert found["hypothesis"] == importlib.metadata.version("hypothesis")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    with tl.run() as run:  # what is imported on the way must be found
        pass
    assert run.environment is not None
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


DIRECT = {
    "vcs": {
        "url": "https://me:secret@example.org/a/vcs.git",
        "vcs_info": {"vcs": "git", "commit_id": "c0ffee", "requested_revision": "main"},
    },
    "editable": {"url": "file:///projects/editable", "dir_info": {"editable": True}},
    "local": {"url": "file:///projects/local", "dir_info": {}},
    "archive": {"url": "https://token@example.org/archive-1.0.zip", "archive_info": {}},
}


def test_requirements_say_where_a_distribution_came_from_and_no_password(site: Path) -> None:
    for name, said in DIRECT.items():
        (site / f"{name}-1.0.dist-info").mkdir()
        (site / f"{name}-1.0.dist-info" / "direct_url.json").write_text(json.dumps(said))
    for name in ("Plain_Name-2.0+cu12", "damaged-1.0"):
        (site / f"{name}.dist-info").mkdir()
    (site / "damaged-1.0.dist-info" / "direct_url.json").write_text("{")
    (site / "old-3.0-py3.11.egg-info").write_text("")
    (site / "developed.egg-info").mkdir()
    (site / "developed.egg-info" / "PKG-INFO").write_text("Name: developed\nVersion: 4.0\n")
    with tl.run() as run:
        pass
    environment = run.environment
    assert environment is not None
    assert environment.requirements == [
        "archive @ https://example.org/archive-1.0.zip",
        "damaged==1.0",
        "developed==4.0",
        "# editable==1.0 (editable file:///projects/editable)",
        "# local==1.0 (from file:///projects/local)",
        "old==3.0",
        "plain-name==2.0+cu12",
        "vcs @ git+https://example.org/a/vcs.git@c0ffee",
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://u:p@h.org:8/x", "https://h.org:8/x"),
        ("https://token@h.org/x", "https://h.org/x"),
        ("ssh://git@h.org/x.git", "ssh://git@h.org/x.git"),
        ("ssh://git:p@h.org/x.git", "ssh://h.org/x.git"),
        ("file:///a@b/c", "file:///a@b/c"),
    ],
)
def test_credentials_are_taken_out_of_urls(url: str, expected: str) -> None:
    assert without_credentials(url) == expected


def test_equal_environments_are_stored_once(store_path: Path) -> None:
    def objects() -> int:
        return sum(1 for path in (store_path / "objects").rglob("*") if path.is_file())

    with tl.run():
        double(1)
    before = objects()
    for _ in range(5):
        with tl.run() as run:
            double(1)
    assert objects() == before
    assert run.environment is not None


def test_a_killed_run_has_its_environment(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, time
            import tasklineage as tl
            @tl.task
            def f(x):
                return x
            f(1)
            print("called", flush=True)
            time.sleep(60)
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    store, until = tl.open_store(None), time.monotonic() + 30
    while not store.catalog.environments(bytes.fromhex(tl.runs()[0].id)):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    run = tl.runs()[0]
    assert run.status == "killed"
    assert run.environment is not None


def test_no_process_is_started_and_the_command_prints_requirements(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, subprocess
            import tasklineage as tl
            def none(*args, **kwargs):
                os._exit(9)
            subprocess.Popen.__init__ = os.posix_spawn = os.execv = os.execve = os.system = none
            @tl.task
            def f(x):
                return x
            with tl.run("r"):
                f(1)
            """
        )
    )
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=True)
    (run,) = tl.runs()
    printed = run_cli("env", run.id)
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert lines[0].startswith(f"# run {run.id} (r)")
    assert lines[0].endswith(f" in {tmp_path}")
    assert f"# Python {run.python}" in lines[1]
    assert f"msgpack=={importlib.metadata.version('msgpack')}" in lines
    said = json.loads(run_cli("env", run.id, "--json").stdout)["environment"]
    assert said["cwd"] == str(tmp_path)
    assert said["argv"] == [str(script)]
    assert {"name", "version", "url"} == set(said["distributions"][0])
    assert run_cli("env", "ffffffff").returncode == 3
    assert run_cli("env", tl.calls()[0].id).returncode == 2


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_state_of_the_code_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "code.py").write_text("x = 1\n")
    for args in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *args], cwd=tree, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tree, check=True, capture_output=True, text=True
    ).stdout.strip()
    (tree / "code.py").write_text("x = 2\n")
    (tree / "other.py").write_text("y = 1\n")
    monkeypatch.chdir(tree)
    with tl.run() as run:
        pass
    environment = run.environment
    assert environment is not None
    assert run.commit == environment.commit == head
    assert environment.dirty
    assert environment.changed == ("code.py",)
    assert "-x = 1\n+x = 2\n" in environment.diff
    assert environment.untracked == ("other.py",)
    assert environment.note == ""
    assert run_cli("env", run.id, "--diff").stdout == environment.diff
    assert "changed: code.py" in run_cli("env", run.id).stdout
    monkeypatch.chdir(tmp_path)
    with tl.run() as run:
        pass
    assert run.environment is not None
    assert not run.environment.dirty


def test_a_store_that_cannot_be_written_has_no_environment(tmp_path: Path) -> None:
    with tl.run(store=tmp_path / "store"):
        double(1)
    reading = tl.open_store(tmp_path / "store", read_only=True)
    with pytest.warns(UserWarning, match="cannot be written"), tl.run(store=reading):
        double(1)
    assert len(tl.runs(store=tmp_path / "store")) == 1


def test_a_fork_right_after_the_first_call_neither_hangs_nor_warns(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, warnings
            import tasklineage as tl
            warnings.simplefilter("error")
            @tl.task
            def f(x):
                return x
            f(1)
            child = os.fork()
            if not child:
                f(2)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert tl.current_run().environment is not None
            """
        )
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)
