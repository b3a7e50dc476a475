"""Ceph's object gateway with an S3 interface: one monitor, one memory store, one gateway.

All of it listens on the loopback interface only, needs no root, and keeps everything in memory.
Debian has it: radosgw, ceph-mon, ceph-osd, ceph-common.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.servers.lifetime import Endpoint, NotStarted, daemon, free_port, wait_for

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
KEY, SECRET = "tester", "tester-secret"

# `ms mon client mode`: the gateway asks for a secure one else, which there is none of without keys.
# `tcp_nodelay`: without it every GET takes 40 ms.
# `mon data avail`: a fairly full disk stops the monitor else.
CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}
public network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
ms bind ipv4 = true
ms bind ipv6 = false
ms mon client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
crash dir = {folder}
[mon]
mon data = {folder}/mon
mon data avail warn = 2
mon data avail crit = 1
mon initial members = a
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4G
osd memory target = 1G
osd numa auto affinity = false
osd class load list = *
osd class default list = *
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw dns name = localhost
rgw enable usage log = false
rgw run sync thread = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw thread pool size = 64
"""


def what_is_missing() -> str:
    """What has to be installed; empty if nothing."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if not absent:
        return ""
    return f"no {', '.join(absent)}: apt-get install radosgw ceph-mon ceph-osd ceph-common"


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Endpoint]:
    """The gateway, with one user. It takes some 15 s to start."""
    gateway = _configure(folder)
    with contextlib.ExitStack() as stack:
        for start in (_monitor, _store, _gateway):
            stack.enter_context(start(folder))
        url = f"http://127.0.0.1:{gateway}"
        _run(
            folder, "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=tester",
            "--display-name=tester", f"--access-key={KEY}", f"--secret-key={SECRET}",
        )  # fmt: skip
        yield Endpoint("radosgw", url, KEY, SECRET)


def _configure(folder: Path) -> int:
    """The port of the gateway."""
    fsid, monitor, gateway = str(uuid.uuid4()), free_port(), free_port()
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    text = CONFIGURATION.format(fsid=fsid, folder=folder, monitor=monitor, gateway=gateway)
    (folder / "ceph.conf").write_text(text)
    address = f"[v2:127.0.0.1:{monitor}]"
    command = ("--create", "--clobber", "--fsid", fsid, "--addv", "a", address)
    subprocess.run(
        ["monmaptool", *command, str(folder / "monmap")], check=True, capture_output=True
    )
    (folder / "url").write_text(f"http://127.0.0.1:{gateway}/")
    return gateway


@contextlib.contextmanager
def _monitor(folder: Path) -> Iterator[None]:
    _run(folder, "ceph-mon", "-i", "a", "--mkfs", "--monmap", str(folder / "monmap"))
    with _daemon(folder, "ceph-mon", "-i", "a", "-f") as process:
        wait_for(lambda: _asked(folder, "mon", "stat") is not None, process, _log(folder, process))
        yield


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[None]:
    identity = str(uuid.uuid4())
    _run(folder, "ceph", "osd", "new", identity)
    # Unless these are the same identity, it never comes up.
    _run(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
    with _daemon(folder, "ceph-osd", "-i", "0", "-f") as process:
        log = _log(folder, process)
        wait_for(lambda: "1 up" in (_asked(folder, "osd", "stat") or ""), process, log)
        yield


@contextlib.contextmanager
def _gateway(folder: Path) -> Iterator[None]:
    url = (folder / "url").read_text()

    def answers() -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(url, timeout=2).close()
            return True
        return False

    with _daemon(folder, "radosgw", "-n", "client.rgw", "-f") as process:
        wait_for(answers, process, _log(folder, process))
        yield


def _daemon(
    folder: Path, program: str, *arguments: str
) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    configuration = str(folder / "ceph.conf")
    return daemon([program, "-c", configuration, *arguments], folder / f"{program}.out")


def _log(folder: Path, process: subprocess.Popen[bytes]) -> Path:
    return folder / f"{process.args[0]}.out"  # type: ignore[index]


def _run(folder: Path, program: str, *arguments: str) -> str:
    command = [program, "-c", str(folder / "ceph.conf"), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise NotStarted(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


def _asked(folder: Path, *question: str) -> str | None:
    """The monitor's answer; None while there is none."""
    command = ["ceph", "-c", str(folder / "ceph.conf"), "--connect-timeout", "2", *question]
    environ = {**os.environ, "CEPH_CONF": str(folder / "ceph.conf")}
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=4, env=environ
        )
        return done.stdout if done.returncode == 0 else None
    return None
