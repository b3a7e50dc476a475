"""Fixtures: real servers, started when the first test asks, shared by the processes of a session.

A server that is not installed skips its tests, and says what to install; where the environment
variable TASKLINEAGE_TEST_SERVERS names it (`.ci/run` does so after it has installed it), its tests
fail instead.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests.servers.lifetime import Endpoint, Lease
from tests.servers.proxy import Proxy

EXPECTED = os.environ.get("TASKLINEAGE_TEST_SERVERS", "").split()
S3_SERVERS = ("radosgw", "moto")


class Servers:
    """The servers of this test session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leases: dict[str, Lease] = {}

    def get(self, kind: str) -> Endpoint:
        """Where the server of this kind is; it is started if need be."""
        if kind not in self._leases:
            missing = _what_is_missing(kind)
            if missing and kind not in EXPECTED:
                pytest.skip(missing)
            self._leases[kind] = Lease(kind, self._folder / kind)
        return self._leases[kind].endpoint

    def has(self, kind: str) -> bool:
        """Whether there is a server of this kind, or has to be."""
        return kind in self._leases or kind in EXPECTED or not _what_is_missing(kind)

    def close(self) -> None:
        """None of them is needed any more."""
        for lease in self._leases.values():
            lease.close()


def _what_is_missing(kind: str) -> str:
    """What to install for a server of this kind; empty: nothing."""
    missing: str = importlib.import_module(f"tests.servers.{kind}").what_is_missing()
    return missing


class Bucket(NamedTuple):
    """A new bucket, of which this test knows alone."""

    name: str
    endpoint: Endpoint

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def options(self) -> dict[str, Any]:
        """What `storage_options=` takes."""
        key, secret = self.endpoint.key, self.endpoint.secret
        return {"key": key, "secret": secret, "endpoint_url": self.endpoint.url}

    @property
    def environ(self) -> dict[str, str]:
        """The same for programs that say nothing."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint.url,
            "AWS_ACCESS_KEY_ID": self.endpoint.key,
            "AWS_SECRET_ACCESS_KEY": self.endpoint.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def through(self, proxy: Proxy) -> Bucket:
        """The same bucket, seen through a proxy."""
        return self._replace(endpoint=self.endpoint._replace(url=proxy.url))


@functools.cache
def client(endpoint: Endpoint) -> Any:
    """A client of the server that remembers nothing; to make one takes half a second."""
    import s3fs

    return s3fs.S3FileSystem(
        key=endpoint.key,
        secret=endpoint.secret,
        endpoint_url=endpoint.url,
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def new_bucket(endpoint: Endpoint) -> Bucket:
    """A bucket in which there is nothing."""
    made = Bucket(f"test-{uuid4().hex[:16]}", endpoint)
    client(endpoint).call_s3("create_bucket", Bucket=made.name)
    return made


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    # One folder for all the workers of a session. Its path is short: sockets are in it.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)
    folder = Path(tempfile.gettempdir()) / f"tl-servers-{run[:12]}"
    found = Servers(folder)
    yield found
    found.close()
    with contextlib.suppress(OSError):  # whoever is the last
        folder.rmdir()


@pytest.fixture(params=S3_SERVERS)
def s3_server(request: pytest.FixtureRequest, servers: Servers) -> Endpoint:
    """An S3 server: a real one where there is one, else moto; by night each."""
    pytest.importorskip("s3fs")
    kinds = request.param.split(" or ")
    is_nightly = request.config.getoption("--nightly")
    if kinds == ["moto"] and servers.has("radosgw") and not is_nightly:
        pytest.skip("a real server is here: this one is asked with --nightly, too")
    return servers.get(next(filter(servers.has, kinds), kinds[0]))


one_server = pytest.mark.parametrize("s3_server", [" or ".join(S3_SERVERS)], indirect=True)
"""For what takes long: the first of the servers that is here."""


@pytest.fixture
def bucket(s3_server: Endpoint) -> Bucket:
    """A new bucket; the server and all in it end with the session."""
    return new_bucket(s3_server)


@pytest.fixture
def proxied(bucket: Bucket) -> Iterator[tuple[Bucket, Proxy]]:
    """A new bucket, and the proxy through which it is seen."""
    with Proxy(bucket.endpoint.url) as proxy:
        yield bucket.through(proxy), proxy
