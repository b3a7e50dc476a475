"""The servers of the tests end with whoever uses them, and the proxy tells what it saw."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.servers.lifetime import ROOT, Lease, NotStarted
from tests.servers.proxy import Proxy

pytest.importorskip("moto")

PROGRAM = """
import sys, time
from pathlib import Path
from tests.servers.lifetime import Lease
lease = Lease("moto", Path(sys.argv[1]))
print(lease.endpoint.url, flush=True)
time.sleep(600)
"""


def is_listening(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0), 1).close()
    except OSError:
        return False
    return True


def assert_soon_gone(url: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while is_listening(url) or (folder / "data").exists():
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_server_is_shared_and_ends_with_its_last_user_however_that_ends(tmp_path: Path) -> None:
    folder = tmp_path / "moto"
    mine = Lease("moto", folder)
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert other.stdout is not None
    assert other.stdout.readline().strip() == mine.endpoint.url
    keeper = json.loads((folder / "ready").read_text())["keeper"]
    os.close(mine._file)  # as if this process had died
    assert is_listening(mine.endpoint.url)
    other.kill()
    other.wait()
    assert_soon_gone(mine.endpoint.url, folder)
    assert mine._keeper is not None
    assert mine._keeper.wait(60) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(keeper, 0)


@pytest.mark.slow
def test_a_server_ends_with_its_keeper(tmp_path: Path) -> None:
    folder = tmp_path / "moto"
    lease = Lease("moto", folder)
    keeper = json.loads((folder / "ready").read_text())["keeper"]
    os.kill(keeper, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while is_listening(lease.endpoint.url):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.05)
    lease.close()
    again = Lease("moto", folder)
    assert is_listening(again.endpoint.url)
    again.close()
    assert_soon_gone(again.endpoint.url, folder)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="no_such_server"):
        Lease("no_such_server", tmp_path / "x")


class Echo(BaseHTTPRequestHandler):
    """Gives back what it gets."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Host", self.headers["Host"])
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with Proxy(f"http://127.0.0.1:{server.server_address[1]}") as made:
        yield made
    server.shutdown()
    server.server_close()


def put(proxy: Proxy, body: bytes) -> tuple[int, bytes, str | None]:
    request = urllib.request.Request(f"{proxy.url}/a/b?c=d", body, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers["X-Host"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), None


def test_a_proxy_passes_on_and_counts(proxy: Proxy) -> None:
    body = os.urandom(300_000)
    assert put(proxy, body) == (200, body, urlsplit(proxy.url).netloc)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{proxy.url}/x", timeout=10)
    assert [(r.method, r.path, r.status) for r in proxy.requests] == [
        ("PUT", "/a/b?c=d", 200),
        ("GET", "/x", 404),
    ]
    assert proxy.count("PUT") == 1


def test_a_proxy_fails_as_told(proxy: Proxy) -> None:
    proxy.inject("503", share=0.5, seed=3)
    codes = [put(proxy, b"1")[0] for _ in range(40)]
    assert 8 < codes.count(503) < 32
    assert codes.count(200) == 40 - codes.count(503)
    assert b"SlowDown" in next(a for c, a, _ in (put(proxy, b"1") for _ in range(40)) if c == 503)
    proxy.inject("reset")
    with pytest.raises((urllib.error.URLError, http.client.HTTPException, ConnectionError)):
        put(proxy, b"1")
    proxy.heal()
    assert put(proxy, b"1")[0] == 200
