"""The environment of a run, as it was recorded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from tasklineage.errors import CorruptObject
from tasklineage.query.render import (
    html_faint,
    html_folded,
    html_heading,
    html_pairs,
    one_line,
)
from tasklineage.storage.records import Ref, RunEnvironment

if TYPE_CHECKING:
    from tasklineage.storage.store import Store


_SAID: dict[str, Any] = {
    "python": "", "implementation": "", "executable": "", "platform": "", "machine": "",
    "cpus": None,
}  # fmt: skip
"""Fields of the text of an environment, and what they are where they are missing."""


class Environment(NamedTuple):
    """What a run executed in."""

    python: str
    """The version of Python."""
    implementation: str
    executable: str
    platform: str
    """Name and release of the system."""
    machine: str
    cpus: int | None
    distributions: tuple[tuple[str, str, str], ...]
    """Name and version of each that was installed, and its URL if it was not from an index."""
    commit: str
    """The Git commit of the working directory; empty outside a repository."""
    changed: tuple[str, ...]
    """Files that were not as they were committed."""
    diff: str
    """How they differed, as `git diff HEAD` shows it; 1 MiB at most."""
    untracked: tuple[str, ...]
    """Files that Git neither knew nor ignored; 200 at most."""
    note: str
    """What of the repository could not be read, or was cut off."""

    @property
    def dirty(self) -> bool:
        """Whether files were not as they were committed."""
        return bool(self.changed)

    @property
    def requirements(self) -> list[str]:
        """A line for each distribution, as pip takes it; a comment for one of a local folder."""
        return [_requirement(*found) for found in self.distributions]

    def __repr__(self) -> str:
        return f"<Environment {one_line(', '.join(self._in_brief()), 200)}>"

    def _repr_html_(self) -> str:
        heading = html_heading("environment", html_faint(", ".join(self._in_brief())))
        pairs = {
            "interpreter": self.executable,
            "changed": ", ".join(self.changed),
            "not known to Git": ", ".join(self.untracked),
            "note": self.note,
        }
        folded = html_folded("distributions", "\n".join(self.requirements))
        return heading + html_pairs("", pairs) + folded + html_folded("diff", self.diff)

    def _in_brief(self) -> list[str]:
        brief = [
            f"{self.implementation} {self.python}",
            self.platform,
            f"{len(self.distributions)} distributions",
        ]
        if self.commit:
            brief.append(f"commit {self.commit[:12]}{' and changes' if self.dirty else ''}")
        return brief


def read_environment(store: Store, record: RunEnvironment) -> Environment:
    """The environment that the record stands for.

    Raises
    ------
    MissingObject, CorruptObject
        One of its objects is gone, or is not what was written.
    """
    said = _said(store.text(Ref(*record.environment)))
    return Environment(
        **said,
        commit=record.commit,
        changed=record.changed,
        diff="" if record.diff is None else store.text(Ref(*record.diff)),
        untracked=record.untracked,
        note=record.note,
    )


def _said(text: str) -> dict[str, Any]:
    """What the text of an environment says, by field."""
    try:
        said = json.loads(text)
        return {name: said.get(name, default) for name, default in _SAID.items()} | {
            "distributions": tuple(
                (str(name), str(version), str(url)) for name, version, url in said["distributions"]
            )
        }
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CorruptObject("what was recorded of the environment is no environment") from error


def _requirement(name: str, version: str, url: str) -> str:
    if not url:
        return f"{name}=={version}"
    kind, _, place = url.rpartition(" ")
    if place.startswith("file:"):
        return f"# {name}=={version} ({kind or 'from'} {place})"
    return f"{name} @ {place}"
