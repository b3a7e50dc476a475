"""What stands between a client and an HTTP server, counts its requests, and lets some of them fail.

    with Proxy(endpoint.url) as proxy:
        proxy.inject("503", share=0.5)
        ...                                  # the client talks to proxy.url
        assert len(proxy.requests) <= 100

It passes on what it gets byte for byte, the Host header too: signatures stay good.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, ClassVar, NamedTuple
from urllib.parse import urlsplit

_OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}
_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message><RequestId>0</RequestId></Error>"
)


class Request(NamedTuple):
    """One request, and how it was answered; 0: not at all."""

    method: str
    path: str
    status: int


class Trouble(NamedTuple):
    """What goes wrong with a share of the requests."""

    kind: str
    """`503`; `lost`: 503 although it was done; `reset`: the connection breaks off; `none`."""
    share: float
    seconds: float
    """How much later every request is answered."""


class Proxy:
    """A proxy of the server at `upstream`, while the block lasts."""

    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "", address.port or 80)
        self._random = Random(0)
        self._trouble = Trouble("none", 0.0, 0.0)
        self._mutex = threading.Lock()
        self.requests: list[Request] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def inject(self, kind: str, share: float = 1.0, seconds: float = 0.0, seed: int = 0) -> None:
        """From now on this goes wrong with this share of the requests."""
        with self._mutex:
            self._random = Random(seed)
            self._trouble = Trouble(kind, share, seconds)

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.inject("none")

    def count(self, method: str | None = None) -> int:
        """How many requests there were."""
        return sum(method in (None, request.method) for request in self.requests)

    def summary(self) -> str:
        """How many requests of which method had which answer."""
        found = Counter((request.method, request.status) for request in self.requests)
        return ", ".join(f"{n} {method} {status}" for (method, status), n in found.most_common())

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def draw(self) -> str:
        """What goes wrong with the next request, after the time that it takes."""
        with self._mutex:
            trouble = self._trouble
            hit = trouble.kind != "none" and self._random.random() < trouble.share
        if trouble.seconds:
            time.sleep(trouble.seconds)
        return trouble.kind if hit else "none"

    def note(self, request: Request) -> None:
        """It was answered."""
        with self._mutex:
            self.requests.append(request)

    def connect(self) -> http.client.HTTPConnection:
        """A connection to the server."""
        connection = http.client.HTTPConnection(*self._upstream, timeout=120)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class _Server(ThreadingHTTPServer):
    proxy: Proxy
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    _local: ClassVar[threading.local] = threading.local()

    def answer(self) -> None:
        assert isinstance(self.server, _Server)
        proxy, body = self.server.proxy, self._body()
        trouble = proxy.draw()
        if trouble == "reset":
            proxy.note(Request(self.command, self.path, 0))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, content = 503, [("Content-Type", "application/xml")], _SLOW_DOWN
        if trouble != "503":
            passed_on = self._passed_on(proxy, body)
            if trouble == "none":
                status, headers, content = passed_on
        proxy.note(Request(self.command, self.path, status))
        self._reply(status, headers, content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def handle_expect_100(self) -> bool:
        is_wanted = super().handle_expect_100()
        self.wfile.flush()  # the client waits for it before it sends the body
        return is_wanted

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the requests are in a list."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _passed_on(self, proxy: Proxy, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        for is_last in (False, True):  # a connection that was kept may have been closed meanwhile
            connection = getattr(self._local, "connection", None)
            if connection is None or self._local.proxy is not proxy:
                connection, self._local.proxy = proxy.connect(), proxy
                self._local.connection = connection
            try:
                return self._asked(connection, body)
            except (http.client.HTTPException, OSError):
                with contextlib.suppress(OSError):
                    connection.close()
                self._local.connection = None
                if is_last:
                    raise
        raise AssertionError

    def _asked(
        self, connection: http.client.HTTPConnection, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _OF_ONE_CONNECTION:
                connection.putheader(name, value)
        if body or self.command in ("PUT", "POST"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read()

    def _reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value  # of what a GET would give
            elif name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
