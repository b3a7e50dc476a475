"""What is read of a repository is what Git itself says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasklineage.core import changes as module
from tasklineage.core.changes import changes_of
from tasklineage.core.repository import Repository, Unreadable, find_repository

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree with two commits."""
    folder = tmp_path / "tree"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "a.py").write_text("".join(f"line {i}\n" for i in range(200)))
    (folder / "below").mkdir()
    (folder / "below" / "b.py").write_text("one\ntwo\n")
    commit(folder, "first")
    (folder / "below" / "b.py").write_text("one\ntwo\nthree\n")
    commit(folder, "second")
    return folder


def git(folder: Path, *args: str) -> str:
    settings = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "gc.auto=0"]
    done = subprocess.run(
        ["git", *settings, *args], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip("\n")


def commit(folder: Path, text: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", text)


def repository(folder: Path) -> Repository:
    found = find_repository(folder)
    assert found is not None
    return found


def hunks(diff: str) -> list[str]:
    """The lines of a diff that say what changed."""
    return [
        line for line in diff.splitlines() if line[:1] in "+-\\" and line[:3] not in ("+++", "---")
    ]


def assert_as_git_says(folder: Path) -> None:
    found = changes_of(repository(folder))
    assert found.note == ""
    assert found.commit == git(folder, "rev-parse", "HEAD")
    assert sorted(found.changed) == sorted(
        git(folder, "diff", "HEAD", "--name-only", "--no-renames").splitlines()
    )
    status = git(folder, "status", "--porcelain").splitlines()
    assert list(found.untracked) == sorted(line[3:] for line in status if line.startswith("??"))
    expected = git(folder, "diff", "HEAD", "--no-renames")
    assert sorted(hunks(found.diff)) == sorted(hunks(expected))


def test_a_clean_tree_has_no_changes(tree: Path) -> None:
    assert_as_git_says(tree)
    assert changes_of(repository(tree / "below")).changed == ()


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("packed", [False, True])
def test_changes_are_those_that_git_shows(tree: Path, packed: bool, version: str) -> None:
    (tree / "gone.txt").write_text("gone")
    (tree / "staged-gone.txt").write_text("gone\n")
    (tree / "link").symlink_to("a.py")
    commit(tree, "third")
    if packed:
        git(tree, "gc", "-q")
    git(tree, "update-index", "--index-version", version)
    (tree / "a.py").write_text("".join(f"line {i}\n" for i in range(5, 203)))
    (tree / "below" / "b.py").write_text("one\ntwo\nthree, and no end of line")
    (tree / "gone.txt").unlink()
    git(tree, "rm", "-q", "staged-gone.txt")
    (tree / "link").unlink()
    (tree / "link").symlink_to("below")
    (tree / "new.py").write_text("new\n")
    git(tree, "add", "new.py")
    (tree / "meant.py").write_text("x")
    git(tree, "add", "-N", "meant.py")
    (tree / "untracked.py").write_text("x")
    (tree / "folder" / "deep").mkdir(parents=True)
    (tree / "folder" / "deep" / "x").write_text("x")
    (tree / "empty").mkdir()
    assert_as_git_says(tree)


def test_the_diff_can_be_applied_to_the_commit(tree: Path) -> None:
    (tree / "gone.txt").write_text("gone\n")
    commit(tree, "third")
    (tree / "a.py").write_text("".join(f"line {i}\n" for i in range(5, 203)))
    (tree / "below" / "b.py").write_text("no end of line")
    (tree / "gone.txt").unlink()
    (tree / "new.py").write_text("new\n")
    git(tree, "add", "new.py")
    diff = tree.parent / "changes.diff"
    diff.write_text(changes_of(repository(tree)).diff)
    expected = git(tree, "diff", "HEAD")
    git(tree, "reset", "-q", "--hard")
    git(tree, "apply", "--index", str(diff))
    assert git(tree, "diff", "HEAD") == expected


def test_deltas_of_packs_are_put_together(tree: Path) -> None:
    for number in range(6):
        lines = [f"line {i} {i * i}\n" for i in range(300 + number)]
        (tree / "a.py").write_text("".join(lines))
        commit(tree, f"{number}")
    git(tree, "gc", "-q", "--aggressive")
    (tree / "a.py").write_text("all is different\n")
    assert_as_git_says(tree)
    head = repository(tree)
    for line in git(tree, "rev-list", "--objects", "--all").splitlines():
        oid = line.split()[0]
        content = subprocess.run(
            ["git", "cat-file", git(tree, "cat-file", "-t", oid), oid],
            cwd=tree, capture_output=True, check=True,
        ).stdout  # fmt: skip
        assert head.read(bytes.fromhex(oid)) == content


def test_another_working_tree_and_a_detached_head_are_read(tree: Path) -> None:
    git(tree, "worktree", "add", "-q", "-b", "other", str(tree.parent / "other"))
    (tree.parent / "other" / "a.py").write_text("changed\n")
    assert_as_git_says(tree.parent / "other")
    git(tree, "checkout", "-q", "--detach", "HEAD~1")
    assert_as_git_says(tree)
    git(tree, "pack-refs", "--all")
    assert_as_git_says(tree.parent / "other")


def test_before_the_first_commit_everything_staged_is_new(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert changes_of(repository(tmp_path)).commit == ""
    (tmp_path / "a").write_text("a\n")
    git(tmp_path, "add", "a")
    found = changes_of(repository(tmp_path))
    assert (found.commit, found.changed, found.note) == ("", ("a",), "")


PATTERNS = ["*.log", "/top", "build/", "a/**/z", "!keep.log", "# no", "doc/*.txt", "**/deep", "x?y",
            "[ab].c", "sub/only", "", "q/**", "\\#hash"]  # fmt: skip
FILES = ["keep.log", "x.log", "top", "n/top", "build/x", "n/build/y", "a/z", "a/b/c/z", "doc/a.txt",
         "n/doc/a.txt", "deep/1", "n/deep/2", "xzy", "a.c", "c.c", "sub/only", "n/sub/only", "q/1",
         "#hash"]  # fmt: skip


@settings(max_examples=25)
@given(
    patterns=st.lists(st.sampled_from(PATTERNS), max_size=4),
    nested=st.lists(st.sampled_from(PATTERNS), max_size=2),
)
def test_ignored_files_are_those_that_git_ignores(
    tmp_path_factory: pytest.TempPathFactory, patterns: list[str], nested: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("ignoring")
    git(folder, "init", "-q")
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / ".gitignore").write_text("\n".join(patterns))
    (folder / "n" / ".gitignore").write_text("\n".join(nested))
    (folder / "n" / "known").write_text("x")
    git(folder, "add", "-f", ".gitignore", "n/.gitignore", "n/known")
    commit_only_index = ["commit", "-qm", "x"]
    git(folder, *commit_only_index)
    assert_as_git_says(folder)
    shutil.rmtree(folder)


def test_a_long_diff_is_cut_off_and_a_binary_file_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.py").write_bytes(b"\0" * 100)
    (tree / "below" / "b.py").write_text("line\n" * 6_000)
    found = changes_of(repository(tree))
    assert "Binary files differ" in found.diff
    assert "too many to compare" in found.diff
    monkeypatch.setattr(module, "MOST_BYTES", 50)
    found = changes_of(repository(tree))
    assert len(found.diff) <= 50
    assert "cut off" in found.note
    assert found.changed == ("a.py", "below/b.py")


@pytest.mark.parametrize("damage", ["index", "HEAD", "config", "objects"])
def test_what_cannot_be_read_is_noted(tree: Path, damage: str) -> None:
    (tree / "a.py").write_text("changed\n")
    if damage == "objects":
        shutil.rmtree(tree / ".git" / "objects")
    elif damage == "config":
        (tree / ".git" / "config").write_text("[extensions]\n\tobjectFormat = sha256\n")
    else:
        (tree / ".git" / damage).write_bytes(b"nothing of the kind")
    found = changes_of(repository(tree))
    assert "was not read wholly" in found.note


def test_a_tree_that_takes_too_long_is_given_up(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", -1.0)
    found = changes_of(repository(tree))
    assert found.commit == git(tree, "rev-parse", "HEAD")
    assert "took more than" in found.note


def test_what_is_no_object_or_no_commit_is_unreadable(tree: Path) -> None:
    with pytest.raises(Unreadable):
        repository(tree).read(b"\1" * 20)
    with pytest.raises(Unreadable):
        repository(tree).tree(git(tree, "rev-parse", "HEAD^{tree}"))


def test_a_name_that_is_no_text_is_kept(tree: Path) -> None:
    name = os.fsdecode(b"\xff.py")
    (tree / name).write_text("x")
    assert changes_of(repository(tree)).untracked == (name,)
