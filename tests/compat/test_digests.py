"""Digests are what they have been: in every process, and under every supported interpreter.

Another interpreter is tried where `python3.x` is on PATH or among those that the environment
variable TASKLINEAGE_TEST_PYTHONS lists, and has xxhash.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tasklineage.key.digest import SCHEME
from tests.compat import samples

Digests = dict[str, dict[str, str]]


def interpreters() -> list[str]:
    """Other interpreters to try; those that the environment names come first."""
    named = os.environ.get("TASKLINEAGE_TEST_PYTHONS", "").split(os.pathsep)
    found = [shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)]
    return list(dict.fromkeys(path for path in (*named, *found) if path))


OTHERS = interpreters()
"""Looked up while the tests are collected: a test sees no variables of ours."""


@pytest.fixture(scope="module")
def golden() -> Digests:
    """The digests on record."""
    content: dict[str, Any] = json.loads(samples.GOLDEN.read_text("utf-8"))
    return content


def assert_as_recorded(found: Digests, golden: Digests) -> None:
    """What could be evaluated has the digests on record."""
    for group, digests in found.items():
        expected = golden[group]
        changed = [text for text, digest in digests.items() if digest != expected[text]]
        assert not changed, f"these digests are no longer those of scheme {SCHEME}"


def run(interpreter: str, **environment: str) -> Digests:
    """The digests that another process finds."""
    done = subprocess.run(
        [interpreter, "-B", samples.__file__],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: Digests = json.loads(done.stdout)
    return found


def has_xxhash(interpreter: str) -> bool:
    """Whether an interpreter starts, is one that is supported, and can import xxhash."""
    probe = "import sys, xxhash; sys.exit(sys.version_info < (3, 11))"
    return (
        subprocess.run([interpreter, "-c", probe], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_digests_are_those_on_record_under_every_hash_seed(golden: Digests, seed: str) -> None:
    found = run(sys.executable, PYTHONHASHSEED=seed)
    assert "standard library" in found
    assert_as_recorded(found, golden)


@pytest.mark.parametrize("interpreter", OTHERS, ids=[os.path.basename(path) for path in OTHERS])
def test_digests_are_those_on_record_under_other_interpreters(
    golden: Digests, interpreter: str
) -> None:
    if not has_xxhash(interpreter):
        pytest.skip(f"{interpreter} cannot import xxhash, or is too old")
    assert_as_recorded(run(interpreter), golden)


def test_no_two_samples_share_a_digest_but_those_that_are_equal(golden: Digests) -> None:
    samples_of: dict[str, list[str]] = {}
    for group in golden.values():
        for text, digest in group.items():
            samples_of.setdefault(digest, []).append(text)
    assert [texts for texts in samples_of.values() if len(texts) > 1] == [
        ["math.nan", "-math.nan"],
        ["np.arange(6).reshape(2, 3)", "np.asfortranarray(np.arange(6).reshape(2, 3))"],
    ]


def test_the_scheme_is_the_one_on_record() -> None:
    assert SCHEME == 1
