"""tasklineage: plain Python functions whose results are remembered, recorded and traceable.

Put `@task` on functions; their results are stored once under the hash of their content, a call
made before is not made again, and every call is recorded. See README.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tasklineage.core.ambient import current_run
from tasklineage.core.frame import current_call
from tasklineage.core.run import configure, run
from tasklineage.core.task import Task, task
from tasklineage.errors import (
    AmbiguousId,
    ConfigError,
    CorruptObject,
    LengthMismatch,
    MergeConflict,
    MissingFile,
    MissingObject,
    NotFound,
    RefMoved,
    StoreBusy,
    StoreError,
    StoreNotFound,
    StoreReadOnly,
    StoreUnavailable,
    TasklineageError,
    TaskTimeout,
    TooManyItems,
    UnhashableArgument,
    UnreadableFile,
    UnsafeFormat,
    UnsatisfiableResources,
    UnstorableResult,
    UntrackedRead,
    WorkerLost,
)
from tasklineage.key.digest import register_digest

if TYPE_CHECKING:
    from tasklineage.cli.params import cli
    from tasklineage.core.combinators import amap, gather, join, map, merge
    from tasklineage.core.fanout import Failure, Fanout
    from tasklineage.core.future import BoundCall, Future
    from tasklineage.core.inputs import Inputs
    from tasklineage.core.keyed import Key
    from tasklineage.core.planning import plan
    from tasklineage.core.policy import Retry
    from tasklineage.executors.inline import Inline
    from tasklineage.executors.threads import Threads
    from tasklineage.key.files import Dir, File
    from tasklineage.key.secrets import Secret
    from tasklineage.query.artifacts import Artifact
    from tasklineage.query.calls import Call
    from tasklineage.query.diff import Diff, diff
    from tasklineage.query.find import calls, get, latest, namespace, runs
    from tasklineage.query.history import lineage, whence
    from tasklineage.query.lineage import Lineage
    from tasklineage.query.plans import Plan
    from tasklineage.query.runs import Run
    from tasklineage.query.tagging import load, reflog, refs, tag, untag
    from tasklineage.query.why import Why, why
    from tasklineage.storage.store import Store, open_store

__version__ = "0.1.0.dev0"

__all__ = [
    "AmbiguousId",
    "Artifact",
    "BoundCall",
    "Call",
    "ConfigError",
    "CorruptObject",
    "Diff",
    "Dir",
    "Failure",
    "Fanout",
    "File",
    "Future",
    "Inline",
    "Inputs",
    "Key",
    "LengthMismatch",
    "Lineage",
    "MergeConflict",
    "MissingFile",
    "MissingObject",
    "NotFound",
    "Plan",
    "RefMoved",
    "Retry",
    "Run",
    "Secret",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreNotFound",
    "StoreReadOnly",
    "StoreUnavailable",
    "Task",
    "TaskTimeout",
    "TasklineageError",
    "Threads",
    "TooManyItems",
    "UnhashableArgument",
    "UnreadableFile",
    "UnsafeFormat",
    "UnsatisfiableResources",
    "UnstorableResult",
    "UntrackedRead",
    "Why",
    "WorkerLost",
    "amap",
    "calls",
    "cli",
    "configure",
    "current_call",
    "current_run",
    "diff",
    "gather",
    "get",
    "join",
    "latest",
    "lineage",
    "load",
    "map",
    "merge",
    "namespace",
    "open_store",
    "plan",
    "reflog",
    "refs",
    "register_digest",
    "run",
    "runs",
    "tag",
    "task",
    "untag",
    "whence",
    "why",
]

_LAZY = {
    "Dir": "tasklineage.key.files",
    "File": "tasklineage.key.files",
    "Artifact": "tasklineage.query.artifacts",
    "BoundCall": "tasklineage.core.future",
    "Call": "tasklineage.query.calls",
    "Diff": "tasklineage.query.diff",
    "Failure": "tasklineage.core.fanout",
    "Fanout": "tasklineage.core.fanout",
    "Future": "tasklineage.core.future",
    "Inline": "tasklineage.executors.inline",
    "Inputs": "tasklineage.core.inputs",
    "Key": "tasklineage.core.keyed",
    "Lineage": "tasklineage.query.lineage",
    "Plan": "tasklineage.query.plans",
    "Retry": "tasklineage.core.policy",
    "Run": "tasklineage.query.runs",
    "Secret": "tasklineage.key.secrets",
    "Store": "tasklineage.storage.store",
    "Threads": "tasklineage.executors.threads",
    "amap": "tasklineage.core.combinators",
    "calls": "tasklineage.query.find",
    "diff": "tasklineage.query.diff",
    "gather": "tasklineage.core.combinators",
    "get": "tasklineage.query.find",
    "join": "tasklineage.core.combinators",
    "latest": "tasklineage.query.find",
    "lineage": "tasklineage.query.history",
    "load": "tasklineage.query.tagging",
    "map": "tasklineage.core.combinators",
    "merge": "tasklineage.core.combinators",
    "namespace": "tasklineage.query.find",
    "open_store": "tasklineage.storage.store",
    "plan": "tasklineage.core.planning",
    "reflog": "tasklineage.query.tagging",
    "refs": "tasklineage.query.tagging",
    "runs": "tasklineage.query.find",
    "tag": "tasklineage.query.tagging",
    "untag": "tasklineage.query.tagging",
    "whence": "tasklineage.query.history",
    "Why": "tasklineage.query.why",
    "why": "tasklineage.query.why",
}
"""Names that a program which only makes calls, one after the other, never needs."""


def __getattr__(name: str) -> Any:
    if name == "cli":
        return import_module("tasklineage.cli")
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'tasklineage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
