"""What `strict` refuses: calls whose key cannot depend on something that their code refers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasklineage.errors import ConfigError
from tasklineage.key.code_version import CodeVersion, TaskLike, code_version

if TYPE_CHECKING:
    from tasklineage.core.task import Task

_COMPUTED = ("a computed name", "a look into sys.modules")
"""How the references end whose target only shows when the code runs."""


def refuse_untracked(task: Task[Any, Any], code: CodeVersion) -> None:
    """Raise if the code of the task has a reference that counts neither for the key nor as tracked.

    Where `track` of the task, or of a task that it calls, names functions, classes or modules,
    these are taken for the targets of the names that its code computes.

    Raises
    ------
    ConfigError
        It names the task and every such reference, and says what to do about them.
    """
    covered = {
        text
        for one in (task, *code.children)
        if _names_targets(one)
        for text in (code if one is task else code_version(one)).untracked
        if text.endswith(_COMPUTED)
    }
    left = tuple(text for text in code.untracked if text not in covered)
    if left:
        raise ConfigError(
            f"{task.name} refers to what its key cannot depend on, and strict=True refuses that: "
            f"{'; '.join(left)}. {_advice(left)}, or let @task(version=...) stand for the code.",
            task=task.name,
            untracked=left,
        )


def _names_targets(task: TaskLike) -> bool:
    return any(not isinstance(extra, str) for extra in task.track)


def _advice(left: Sequence[str]) -> str:
    computed = [text for text in left if text.endswith(_COMPUTED)]
    found = ["Name the possible targets in @task(track=...)"] if computed else []
    if len(computed) < len(left):
        found.append("Define what is not defined, and pass values as arguments")
    return ". ".join(found)
