"""Secrets: used by tasks, told to nobody, and nowhere in the store."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import urllib.parse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xxhash

import tasklineage as tl
from tasklineage import task
from tasklineage.key.digest import digest
from tasklineage.key.hidden import Hidden
from tasklineage.key.redaction import MARK, Known, hide, redact

PASSWORD = "-".join(("correct", "h0rse", "b@ttery/st+aple"))
executed: list[str] = []


def password() -> str:
    """It is in no code and in no global that a task reads."""
    return os.environ["CANARY"]


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes secret is so for that test alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY", PASSWORD)
    monkeypatch.setattr(Hidden, "in_use", False)
    for name in ("texts", "raw", "pattern"):
        monkeypatch.setattr(Known, name, getattr(Known, name))
    executed.clear()


@pytest.fixture
def store(isolated: Path) -> Path:
    return isolated


def traces(folder: Path, secret: str = PASSWORD) -> list[str]:
    """Every place below the folder where the secret, or a digest that nothing salts, is."""
    data = secret.encode()
    forms = {
        "utf-8": data,
        "utf-16": secret.encode("utf-16-le"),
        "utf-32": secret.encode("utf-32-le"),
        "base64": base64.b64encode(data)[:-4],
        "hex": data.hex().encode(),
        "url": urllib.parse.quote(secret, safe="").encode(),
        "json": json.dumps(secret)[1:-1].encode(),
        "digest": digest(secret),
        "digest of bytes": digest(data),
        "xxh3": xxhash.xxh3_128_digest(data),
        "sha256": hashlib.sha256(data).digest(),
        "md5": hashlib.md5(data).digest(),
    }
    forms |= {f"{name} as text": one.hex().encode() for name, one in forms.items() if "st" in name}
    return [
        f"{name} in {path.relative_to(folder)}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for name, one in forms.items()
        if one in path.read_bytes()
    ]


def saved() -> None:
    """Everything is on the disk: the ambient run has ended, and the catalog is there."""
    list(tl.calls())
    list(tl.runs())


@task
def connect(user: str, password: tl.Secret[str]) -> int:
    executed.append(user)
    return len(password.value)


def test_a_secret_is_recorded_by_its_name(store: Path) -> None:
    assert connect("ann", tl.Secret(PASSWORD, "database")) == len(PASSWORD)
    recorded = tl.calls(task="connect")[0].args["password"]
    assert repr(recorded) == str(recorded) == f"{recorded}" == "Secret(database)"
    assert tl.calls(task="connect")[0].inputs["password"].preview == "Secret(database)"
    with pytest.raises(tl.MissingObject, match=r"Secret\(database\).*not stored"):
        _ = recorded.value
    saved()
    assert traces(store) == []


def test_without_a_name_it_has_that_of_its_parameter() -> None:
    connect("ann", tl.Secret(PASSWORD))
    assert repr(tl.calls(task="connect")[0].args["password"]) == "Secret(password)"


def test_another_secret_is_no_other_call() -> None:
    connect("ann", tl.Secret(PASSWORD))
    connect("ann", tl.Secret("another password", "of another name"))
    connect("bob", tl.Secret(PASSWORD))
    assert executed == ["ann", "bob"]


def test_one_that_counts_is_part_of_the_key(store: Path) -> None:
    for password in (PASSWORD, "another password", PASSWORD):
        connect("ann", tl.Secret(password, counts=True))
    connect("ann", tl.Secret(PASSWORD))
    assert executed == ["ann", "ann", "ann"]
    saved()
    assert traces(store) == []


def test_the_key_of_one_that_counts_stays_in_its_store(tmp_path: Path) -> None:
    for name in ("one", "two", "one"):
        with tl.run(store=tmp_path / name):
            connect("ann", tl.Secret(PASSWORD, counts=True))
    assert executed == ["ann", "ann"]
    digests = {
        tl.calls(task="connect", store=tmp_path / name)[0].inputs["password"].digest
        for name in ("one", "two")
    }
    assert len(digests) == 2
    assert (tmp_path / "one/secret.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "one/secret.key").stat().st_size == 32


def test_one_that_counts_is_a_hit_in_another_process(store: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, tasklineage as tl\n"
        "@tl.task\n"
        "def f(token):\n"
        "    return len(token.value)\n"
        "with tl.run() as run:\n"
        "    f(tl.Secret(os.environ['CANARY'], counts=True))\n"
        "print(run.executed)\n"
    )
    environment = dict(os.environ)
    command = [sys.executable, str(script)]
    found = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert found == ["1\n", "0\n"]
    assert traces(store) == []


@dataclass
class Login:
    user: str
    token: tl.Secret[str]


class Plain:
    def __init__(self, token: tl.Secret[str]) -> None:
        self.token = token
        self.lock = None


@task
def use(what: Any) -> int:
    executed.append(type(what).__name__)
    return 1


def test_inside_of_containers_and_instances(store: Path) -> None:
    values: list[Any] = [
        {"user": "ann", "token": tl.Secret(PASSWORD)},
        [tl.Secret(PASSWORD, "a"), {"b": (tl.Secret(PASSWORD.encode(), "b"),)}],
        Login("ann", tl.Secret(PASSWORD)),
        Plain(tl.Secret(PASSWORD)),
        {"big": list(range(20_000)), "token": tl.Secret(PASSWORD)},
    ]
    for store_args in (False, True):
        with tl.run(store_args=store_args, refresh=True):
            for value in values:
                use(value)
    saved()
    assert traces(store) == []
    assert "Secret(" in tl.calls(task="use")[-1].inputs["what"].preview
    shown = tl.calls(task="use", where={})[0].args["what"]
    assert repr(shown["token"]) == "Secret()"


@pytest.mark.parametrize("number", [0, 1, 20_001])
def test_a_secret_that_is_not_text_is_not_recorded(store: Path, number: int) -> None:
    """Whatever its type: what is never written need not be found."""
    secret = {"pin": [1234, number], "raw": b"\x00\x01\x02canary\xff\xfe"}
    use({"x": tl.Secret(secret, "pin"), "y": list(range(number))})
    saved()
    assert not any(b"canary" in path.read_bytes() for path in store.rglob("*") if path.is_file())


@task(retries=2)
def chatty(token: tl.Secret[str]) -> int:
    text = token.value
    print("token:", text)
    for letter in text:
        print(letter, end="")
    print()
    sys.stdout.write(text[:5])
    sys.stdout.write(text[5:] + "\n")
    print(text.encode(), text.encode().hex(), json.dumps({"token": text}))
    print(base64.b64encode(f"me:{text}".encode()).decode())
    print(base64.b64encode(f"user:{text}".encode()).decode())
    print(urllib.parse.quote(text, safe=""), f"https://me:{urllib.parse.quote_plus(text)}@host/")
    print(text, file=sys.stderr)
    logging.getLogger("chatty").warning("with %s", text)
    warnings.warn(f"warned of {text}", stacklevel=1)
    current = tl.current_call()
    assert current is not None
    if current.attempt < 2:
        raise ConnectionError(f"cannot log in with {text}")
    return 1


@task
def broken(token: tl.Secret[str]) -> None:
    try:
        raise KeyError(token.value)
    except KeyError as cause:
        error = RuntimeError("of the outside", {"password": token.value})
        error.add_note(f"noted: {token.value}")
        raise error from cause


@pytest.mark.filterwarnings("ignore:warned of")
def test_what_is_printed_logged_and_raised_is_recorded_without_it(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chatty(tl.Secret(PASSWORD)) == 1
    with pytest.raises(RuntimeError, match="of the outside"):
        broken(tl.Secret(PASSWORD))
    call = tl.calls(task="chatty")[0]
    assert call.stdout.startswith(f"token: {MARK}\n{MARK}\n{MARK}\n")
    assert f"https://me:{MARK}@host/" in call.stdout
    assert f"with {MARK}" in call.stderr
    assert len(call.attempts) == 3
    assert call.attempts[0].error is not None
    assert call.attempts[0].error.message == f"cannot log in with {MARK}"
    failed = tl.calls(task="broken")[0].error
    assert failed is not None
    assert MARK in failed.traceback
    assert PASSWORD in capsys.readouterr().out, "the program's own output is its own"
    saved()
    assert traces(store) == []


def test_a_result_that_is_a_secret_is_not_stored(store: Path) -> None:
    @task
    def log_in() -> tl.Secret[str]:
        return tl.Secret(password(), "session")

    @task
    def log_in_deep() -> dict[str, Any]:
        return {
            "x": [Login("ann", tl.Secret(password(), "deep"))],
            "y": Plain(tl.Secret(password())),
        }

    with pytest.raises(tl.UnstorableResult, match=r"Secret\(session\).*memo=False") as caught:
        log_in()
    assert caught.value.value.value == PASSWORD
    with pytest.raises(tl.UnstorableResult, match="memo=False"):
        log_in_deep()
    saved()
    assert traces(store) == []


def test_a_task_that_is_no_memo_may_return_one(store: Path) -> None:
    @task(memo=False)
    def log_in() -> tl.Secret[str]:
        executed.append("log_in")
        return tl.Secret(password(), "session")

    @task
    def work() -> int:
        return connect("ann", log_in())

    assert log_in().value == PASSWORD
    assert work() == len(PASSWORD)
    assert tl.calls(task="log_in")[0].output.preview == "Secret(session)"
    saved()
    assert traces(store) == []


@pytest.mark.parametrize("size", [0, 20_000, 3_000_000])
def test_a_result_with_its_text_in_it_is_not_stored(store: Path, size: int) -> None:
    @task
    def url(token: tl.Secret[str]) -> str:
        return "x" * size + f"https://me:{token.value}@host" + "y" * size

    @task
    def packed(token: tl.Secret[str]) -> list[Any]:
        return [b"." * size, {"Authorization": token.value.encode()}, Plain(token.value)]  # type: ignore[arg-type]

    for one in (url, packed):
        with pytest.raises(tl.UnstorableResult, match=r"Secret\(api\)") as caught:
            one(tl.Secret(PASSWORD, "api"))
        assert PASSWORD in str(caught.value.value)
    saved()
    assert traces(store) == []


def test_arrays_and_files_with_its_text_are_not_stored(store: Path, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")

    @task
    def array(token: tl.Secret[str]) -> Any:
        return numpy.array([token.value, "x"] * 5000)

    @task
    def frame(token: tl.Secret[str]) -> Any:
        return pandas.DataFrame({"token": [token.value] * 5000})

    @task
    def file(token: tl.Secret[str]) -> tl.File:
        (tmp_path / "out.txt").write_text(f"token={token.value}")
        return tl.File(tmp_path / "out.txt")

    for one in (array, frame, file):
        with pytest.raises(tl.UnstorableResult, match="Secret"):
            one(tl.Secret(PASSWORD))
    saved()
    assert traces(store) == []


def test_its_text_in_a_plain_argument_is_not_recorded(store: Path) -> None:
    token = tl.Secret(PASSWORD)
    values = [
        token.value, token.value.encode(), f"https://me:{token.value}@host",
        [1, {"a": token.value}],
        {"headers": {"Authorization": f"Bearer {token.value}"}, "pad": "x" * 30_000},
        Plain(token.value),
    ]  # fmt: skip
    for store_args in (False, True):
        with tl.run(store_args=store_args):
            for value in values:
                use(value)
    assert len(executed) == len(values), "they count, and the second time they are hits"
    call = tl.calls(task="use", status="done")[0]
    assert call.inputs["what"].preview == "hidden: a secret is in it"
    saved()
    assert traces(store) == []


def test_params_tags_and_arguments_of_the_program(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["run.py", f"--dsn=postgres://me:{PASSWORD}@db", "--token", "not-a-Secret-yet",
                      "--api-key=also-not", "--tokenizer", "gpt2"],
    )  # fmt: skip
    token = tl.Secret(PASSWORD)
    params = {"token": token, "url": f"x{PASSWORD}x", "nested": {"a": [token]}, "n": 3}
    with tl.run(f"run {PASSWORD}", params=params, tags=(PASSWORD, "kept")) as run:
        connect("ann", token)
        run.add_tags(f"late {PASSWORD}")
    found = tl.runs()[0]
    assert found.name == f"run {MARK}"
    assert found.argv == (
        "run.py", f"--dsn=postgres://me:{MARK}@db", "--token", MARK, f"--api-key={MARK}",
        "--tokenizer", "gpt2",
    )  # fmt: skip
    assert repr(found.params["token"]) == "Secret(token)"
    assert found.params["n"] == 3
    saved()
    assert traces(store) == []


def test_code_and_globals_that_name_it(store: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import tasklineage as tl\n"
        f"TOKEN = tl.Secret({PASSWORD!r})\n"
        "@tl.task\n"
        "def f(n):\n"
        f"    other = tl.Secret({PASSWORD!r})\n"
        "    return n + len(TOKEN.value) - len(other.value)\n"
        "with tl.run() as run:\n"
        "    assert f(1) == 1\n"
    )
    subprocess.run([sys.executable, str(script)], check=True)
    names = [one for one in traces(store) if "digest" not in one]
    assert names == []
    call = tl.calls(task="f")[0]
    assert MARK in str(call.source)


def test_a_global_with_its_text_is_recorded_without_a_digest(store: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, tasklineage as tl\n"
        "plain = os.environ['CANARY']\n"
        "headers = {'Authorization': ('Bearer', plain)}\n"
        "token = tl.Secret(plain)\n"
        "@tl.task\n"
        "def f():\n"
        "    return len(plain) + len(headers)\n"
        "f()\n"
    )
    subprocess.run([sys.executable, str(script)], check=True)
    assert traces(store) == []


def test_a_tracked_variable_counts_and_is_not_told(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(track=("env:CANARY",))
    def tracked() -> int:
        executed.append("tracked")
        return 1

    tl.Secret(PASSWORD)
    tracked()
    tracked()
    monkeypatch.setenv("CANARY", "another value")
    tracked()
    assert executed == ["tracked"] * 2
    saved()
    assert traces(store) == []


def test_the_difference_from_the_commit(store: Path, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)

    git("init")
    (tmp_path / "settings.py").write_text("TOKEN = ''\n")
    git("add", "settings.py")
    git("commit", "-m", "first")
    (tmp_path / "settings.py").write_text(f"TOKEN = {PASSWORD!r}\n")
    (tmp_path / "script.py").write_text(
        "import tasklineage as tl, settings\n"
        "token = tl.Secret(settings.TOKEN)\n"
        "@tl.task\n"
        "def f(t):\n"
        "    return 1\n"
        "with tl.run() as run:\n"
        "    f(token)\n"
    )
    subprocess.run([sys.executable, "script.py"], check=True)
    environment = tl.runs()[0].environment
    assert MARK in (environment.diff or "")
    assert traces(store) == []


def test_a_file_that_the_body_reads_counts_as_little_as_the_secret(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "token.txt").write_text(PASSWORD)
    (tmp_path / "data.txt").write_text("data")

    @task
    def read() -> int:
        executed.append("read")
        with open("data.txt") as data, open("token.txt") as file:
            return len(tl.Secret(file.read()).value) + len(data.read())

    read()
    read()
    assert executed == ["read"]
    (tmp_path / "token.txt").write_text("another token")
    read()
    assert executed == ["read"]
    (tmp_path / "data.txt").write_text("other data")
    read()
    assert executed == ["read", "read"]
    saved()
    assert traces(store) == []


def test_an_annotation_makes_one_of_a_plain_value(store: Path) -> None:
    assert connect("ann", PASSWORD) == len(PASSWORD)  # type: ignore[arg-type]
    assert repr(tl.calls(task="connect")[0].args["password"]) == "Secret(password)"
    assert list(tl.map(connect, ["a", "b"], password=PASSWORD)) == [len(PASSWORD)] * 2
    assert connect.submit("c", PASSWORD).result() == len(PASSWORD)
    saved()
    assert traces(store) == []


def test_on_a_command_line(store: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import tasklineage as tl\n"
        "@tl.task\n"
        "def f(token: tl.Secret[str], n: int = 1) -> int:\n"
        "    print(token.value)\n"
        "    return n\n"
        "if __name__ == '__main__':\n"
        "    tl.cli(f)\n"
    )
    subprocess.run([sys.executable, str(script), "--token", PASSWORD], check=True)
    environment = {**os.environ, "TASKLINEAGE_PARAM_TOKEN": PASSWORD}
    subprocess.run([sys.executable, str(script), "--n", "2"], check=True, env=environment)
    first = tl.runs()[-1]
    assert repr(first.params["token"]) == "Secret(token)"
    assert PASSWORD not in first.argv
    assert traces(store) == []


def test_it_cannot_be_made_again_without_it() -> None:
    connect("ann", tl.Secret(PASSWORD))
    call = tl.calls(task="connect")[0]
    with pytest.raises(tl.MissingObject, match=r"rerun\(password=\.\.\.\)"):
        call.rerun()
    assert call.rerun(password=tl.Secret("1234567")) == 7


def test_it_travels_to_other_threads_and_processes() -> None:
    token = tl.Secret(PASSWORD, "api", counts=True)
    for other in (pickle.loads(pickle.dumps(token)), copy.copy(token), copy.deepcopy(token)):
        assert other == token
        assert (other.value, other.name, other.counts) == (PASSWORD, "api", True)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(connect("ann", token)))
    thread.start()
    thread.join()
    assert found == [len(PASSWORD)]


def test_it_shows_itself_to_nobody() -> None:
    token = tl.Secret(PASSWORD, "api")
    shown = [repr(token), str(token), f"{token}", f"{token!r}", repr([token]), repr({"a": token})]
    shown.append(repr(Login("ann", token)))
    with io.StringIO() as stream:
        print(token, file=stream)
        shown.append(stream.getvalue())
    assert not any(PASSWORD in text for text in shown)
    assert token == tl.Secret(PASSWORD) != tl.Secret("x")
    assert hash(token) == hash(tl.Secret(PASSWORD))
    assert tl.Secret(token) == token
    assert tl.Secret(token).name == "api"
    with pytest.raises(AttributeError, match="cannot be changed"):
        token.value = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        json.dumps(token)


def test_a_short_one_hides_only_itself(store: Path) -> None:
    @task
    def echo(pin: tl.Secret[str]) -> str:
        print(pin.value)
        return f"the pin is {pin.value}"

    assert echo(tl.Secret("1234")) == "the pin is 1234"
    assert repr(tl.calls(task="echo")[0].args["pin"]) == "Secret(pin)"


def test_a_text_is_found_wherever_it_begins() -> None:
    hide(PASSWORD, "Secret()")
    for before in ("", "u", "us", "user:"):
        coded = base64.b64encode(f"{before}{PASSWORD} and more".encode()).decode()
        assert MARK in redact(coded)
        assert MARK in redact(base64.urlsafe_b64encode(f"{before}{PASSWORD}".encode()).decode())
    assert redact("nothing of it") == "nothing of it"


def test_a_key_of_several_lines_is_found_line_by_line(store: Path) -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----\n"

    @task
    def sign(key: tl.Secret[str]) -> int:
        for line in key.value.splitlines():
            print("line:", line)
        return 1

    sign(tl.Secret(key))
    assert tl.calls(task="sign")[0].stdout == f"line: {MARK}\n" * 4
    saved()
    assert not any(
        line in path.read_text("latin-1")
        for path in store.rglob("*")
        if path.is_file()
        for line in key.splitlines()
    )


def test_a_global_that_counts_is_part_of_the_code(tmp_path: Path) -> None:
    source = (
        "import sys, tasklineage as tl\n"
        "TOKEN = tl.Secret(sys.argv[1], counts=True)\n"
        "@tl.task\n"
        "def f():\n"
        "    return len(TOKEN.value)\n"
        "with tl.run() as run:\n"
        "    f()\n"
        "print(run.executed)\n"
    )
    (tmp_path / "script.py").write_text(source)
    found = [
        subprocess.run(
            [sys.executable, "script.py", value], capture_output=True, text=True, check=True
        ).stdout
        for value in ("first-value", "first-value", "other-value")
    ]
    assert found == ["1\n", "0\n", "1\n"]


@pytest.fixture(autouse=True)
def _quiet_logging() -> Iterator[None]:
    yield
    logging.getLogger("chatty").handlers.clear()
