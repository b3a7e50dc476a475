"""S3 through s3fs: what it has beyond other file systems.

Conditional puts make `create` possible, listings go on behind a key, deletions go by the thousand,
and large files travel in several parts at once. Nothing is tried again by the libraries below: what
fails is told, and `patience` tries it again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

from tasklineage.errors import StoreError, StoreUnavailable
from tasklineage.storage.backend import (
    Entries,
    Entry,
    Names,
    answer_of,
    check_key,
    failure,
    is_key,
)
from tasklineage.storage.patience import patiently
from tasklineage.storage.urls import Fsspec

PART = 8 << 20
"""Bytes of a part of a large file; one that is no longer goes in one request."""
PARTS_AT_ONCE = 8
Spans: TypeAlias = list[tuple[int, int]]
_MOST_PARTS = 10_000
_DELETED_AT_ONCE = 1_000
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10, 60
_CONNECTIONS = 64
_NOT_SATISFIABLE = 416


class S3(Fsspec):
    """Bytes below an `s3:` URL. See `Fsspec`."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, storage_options)
        self.can_create = True
        self._is_conditional: bool | None = None
        self._probing = threading.Lock()

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and end <= start:
            return b""
        with self._telling("read", key):
            return bytes(self._synced(self._get_part(key, start, end))[0])

    def create(self, key: str, data: bytes) -> bool:
        if not self._honours_conditions():
            raise StoreError(
                f"{self.url} cannot create {key} only where it is not there yet: the server, or "
                "this version of botocore, ignores If-None-Match, so names cannot be kept there "
                "safely. Use another server, or upgrade `aiobotocore`",
                errno=errno.ENOTSUP,
            )
        return self._put_absent(key, data)

    def list(self, prefix: str = "", after: str = "") -> Entries:
        found: list[Entry] = []
        for page in self._pages(prefix, f"{self._root()}{after}" if after else ""):
            skipped = len(self._root())
            found += [
                Entry(one["Key"][skipped:], one["Size"], one["LastModified"].timestamp())
                for one in page.get("Contents", ())
            ]
        return [entry for entry in found if is_key(entry.key)]

    def names(self, prefix: str = "") -> Names:
        found: set[str] = set()
        for page in self._pages(prefix, "", Delimiter="/"):
            found.update(one["Prefix"].split("/")[-2] for one in page.get("CommonPrefixes", ()))
            found.update(one["Key"].rpartition("/")[2] for one in page.get("Contents", ()))
        return sorted(filter(is_key, found))

    def size(self, key: str) -> int | None:
        with self._telling("look at", key):
            try:
                return int(self._call("head_object", Key=self._key(key))["ContentLength"])
            except FileNotFoundError:
                return None

    def delete(self, keys: Iterable[str]) -> None:
        names = [self._key(key) for key in keys]
        for start in range(0, len(names), _DELETED_AT_ONCE):
            some = names[start : start + _DELETED_AT_ONCE]
            with self._telling("delete", some[0][len(self._root()) :]):
                answer = self._call(
                    "delete_objects",
                    Delete={"Objects": [{"Key": name} for name in some], "Quiet": True},
                )
            for error in answer.get("Errors", ()):
                raise StoreError(
                    f"cannot delete s3://{self._bucket()}/{error.get('Key')}: "
                    f"{error.get('Code')} {error.get('Message', '')}"
                )

    def now(self) -> float:
        with self._telling("ask the time of", ""):
            answer = self._call("list_objects_v2", Prefix=self._root(), MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
        return parsedate_to_datetime(date).timestamp()

    def upload(self, key: str, path: str | os.PathLike[str]) -> None:
        size = os.stat(path).st_size
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if size <= PART:
                self.write(key, os.pread(fd, size, 0))
            else:
                self._upload_parts(key, fd, size)
        finally:
            os.close(fd)

    def download(self, key: str, path: str | os.PathLike[str]) -> None:
        with self._telling("read", key):
            first, size = self._synced(self._get_part(key, 0, PART))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, first, 0)
            spans = [(at, min(at + PART, size)) for at in range(len(first), size, PART)]
            self._in_parts("read", key, spans, lambda *span: self._fetch(key, fd, *span))
        finally:
            os.close(fd)

    # One request each.

    def _put_absent(self, key: str, data: bytes) -> bool:
        """Whether this request has made the key."""
        name = self._key(key)
        try:
            self._call("put_object", Key=name, Body=data, IfNoneMatch="*")
        except Exception as error:  # s3fs has no class of its own for it
            status, code = answer_of(error)
            if status == 412 or code == "PreconditionFailed" or isinstance(error, FileExistsError):
                return False
            if status == 409 or (status == 500 and code == "UnknownError"):
                # Somebody else was at it: whoever has won, it is there in a moment.
                raise StoreUnavailable(
                    f"cannot create {self.url}/{key} now: another writer is at it"
                ) from error
            raise failure(self.url, "create", key, error) from error
        return True

    def _honours_conditions(self) -> bool:
        """Whether `If-None-Match` has an effect here; asked once by trying it."""
        with self._probing:
            if self._is_conditional is None:
                probe = f"probe/{os.urandom(8).hex()}"
                if not self._knows_conditions():
                    self._is_conditional = False
                elif patiently(lambda: self._put_absent(probe, b"1"), f"probe {self.url}"):
                    again = patiently(lambda: self._put_absent(probe, b"2"), f"probe {self.url}")
                    self._is_conditional = not again
                    self.delete([probe])
            self.can_create = bool(self._is_conditional)
            return self.can_create

    def _knows_conditions(self) -> bool:
        """Whether botocore is new enough to pass the condition on: else it is dropped silently."""
        fs, _ = self._file_system()
        operation = fs.s3.meta.service_model.operation_model("PutObject")
        return "IfNoneMatch" in operation.input_shape.members

    async def _get(self, key: str, end: int | None) -> bytes:
        return (await self._get_part(key, 0, end))[0]

    async def _get_part(self, key: str, start: int, end: int | None) -> tuple[bytes, int]:
        """The bytes under the key from `start` up to `end`, and how many there are in all."""
        fs, _ = self._file_system()
        known = {"Bucket": self._bucket(), "Key": self._key(key)}
        if start or end is not None:
            known["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            answer = await fs._call_s3("get_object", **known)
            data = await answer["Body"].read()
            answer["Body"].close()
        except Exception as error:
            if answer_of(error)[0] == _NOT_SATISFIABLE:  # there are no bytes from there on
                return b"", 0
            raise
        if len(data) != answer["ContentLength"]:
            raise ConnectionError(f"{len(data)} bytes came of {answer['ContentLength']}")
        _, _, total = answer.get("ContentRange", "").rpartition("/")
        return data, int(total) if total.isdigit() else len(data)

    async def _fetch(self, key: str, fd: int, start: int, end: int) -> None:
        data, _ = await self._get_part(key, start, end)
        if len(data) != end - start:
            raise ConnectionError(f"{len(data)} bytes came of {end - start}")
        os.pwrite(fd, data, start)

    # Several requests.

    def _upload_parts(self, key: str, fd: int, size: int) -> None:
        part = max(PART, -(-size // _MOST_PARTS))
        name = self._key(key)
        with self._telling("write", key):
            begun = self._call("create_multipart_upload", Key=name)
            known = {"Bucket": self._bucket(), "Key": name, "UploadId": begun["UploadId"]}
        tags: dict[int, str] = {}

        async def send(start: int, end: int) -> None:
            fs, _ = self._file_system()
            number, body = start // part + 1, os.pread(fd, end - start, start)
            answer = await fs._call_s3("upload_part", **known, PartNumber=number, Body=body)
            tags[number] = answer["ETag"]

        try:
            spans = [(at, min(at + part, size)) for at in range(0, size, part)]
            self._in_parts("write", key, spans, send)
            parts = [{"PartNumber": number, "ETag": tags[number]} for number in sorted(tags)]
            with self._telling("write", key):
                self._call("complete_multipart_upload", **known, MultipartUpload={"Parts": parts})
        except BaseException:
            with contextlib.suppress(StoreError), self._telling("give up", key):
                self._call("abort_multipart_upload", **known)
            raise

    def _in_parts(self, what: str, key: str, spans: Spans, do: Callable[[int, int], Any]) -> None:
        """`do` each part of a file, several at once; only a part that failed is tried again."""

        def attempt() -> None:
            answers = self._at_once([do(*span) for span in spans], PARTS_AT_ONCE)
            failed = [
                (span, answer)
                for span, answer in zip(spans, answers, strict=True)
                if isinstance(answer, BaseException)
            ]
            spans[:] = [span for span, _ in failed]
            for _, error in failed:
                raise failure(self.url, what, key, error) from error

        patiently(attempt, f"{what} {self.url}/{key}")

    def _pages(self, prefix: str, after: str, **options: Any) -> Sequence[Mapping[str, Any]]:
        below = f"{self._key(prefix)}/" if prefix else self._root()
        asked: dict[str, Any] = {"Prefix": below, **options}
        if after:
            asked["StartAfter"] = after
        pages: list[Mapping[str, Any]] = []
        while True:
            with self._telling("list", prefix):
                page = self._call("list_objects_v2", **asked)
            pages.append(page)
            if not page.get("IsTruncated"):
                return pages
            asked["ContinuationToken"] = page["NextContinuationToken"]

    # Names.

    def _call(self, method: str, **arguments: Any) -> Any:
        arguments.setdefault("Bucket", self._bucket())
        return self._synced(self._file_system()[0]._call_s3(method, **arguments))

    def _bucket(self) -> str:
        return self._file_system()[1].partition("/")[0]

    def _root(self) -> str:
        """What all keys begin with inside the bucket: empty, or ends in `/`."""
        inside = self._file_system()[1].partition("/")[2]
        return f"{inside}/" if inside else ""

    def _key(self, key: str) -> str:
        return self._root() + check_key(key)

    def _fs_options(self) -> dict[str, Any]:
        given = dict(self._options)
        config = {
            "connect_timeout": _CONNECT_TIMEOUT,
            "read_timeout": _READ_TIMEOUT,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            **given.pop("config_kwargs", {}),
        }
        return {**given, "config_kwargs": config, "use_listings_cache": False}

    def _prepare(self, fs: Any) -> None:
        super()._prepare(fs)
        fs.retries = 1

    def _synced(self, coroutine: Any) -> Any:
        """What it gives."""
        (answer,) = self._at_once([coroutine])
        if isinstance(answer, BaseException):
            raise answer
        return answer
