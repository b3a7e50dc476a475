"""tasklineage: plain Python functions whose results are remembered, recorded and traceable.

Put `@task` on functions; their results are stored once under the hash of their content, a call
made before is not made again, and every call is recorded. See README.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasklineage.cli.params import cli
    from tasklineage.core.ambient import current_run
    from tasklineage.core.combinators import amap, gather, join, map, merge
    from tasklineage.core.fanout import Failure, Fanout
    from tasklineage.core.frame import current_call
    from tasklineage.core.future import BoundCall, Future
    from tasklineage.core.inputs import Inputs
    from tasklineage.core.keyed import Key
    from tasklineage.core.planning import plan
    from tasklineage.core.policy import Retry
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
        SchedulerLost,
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
    from tasklineage.executors.dask import Dask
    from tasklineage.executors.inline import Inline
    from tasklineage.executors.processes import Processes
    from tasklineage.executors.threads import Threads
    from tasklineage.key.digest import register_digest
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
    from tasklineage.query.transfers import pull, push
    from tasklineage.query.why import Why, why
    from tasklineage.storage.opening import open_store
    from tasklineage.storage.store import Store

__version__ = "0.1.0.dev0"

__all__ = [
    "AmbiguousId",
    "Artifact",
    "BoundCall",
    "Call",
    "ConfigError",
    "CorruptObject",
    "Dask",
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
    "Processes",
    "RefMoved",
    "Retry",
    "Run",
    "SchedulerLost",
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
    "pull",
    "push",
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
    "AmbiguousId": "tasklineage.errors",
    "Artifact": "tasklineage.query.artifacts",
    "BoundCall": "tasklineage.core.future",
    "Call": "tasklineage.query.calls",
    "ConfigError": "tasklineage.errors",
    "CorruptObject": "tasklineage.errors",
    "Diff": "tasklineage.query.diff",
    "Dir": "tasklineage.key.files",
    "Failure": "tasklineage.core.fanout",
    "Fanout": "tasklineage.core.fanout",
    "File": "tasklineage.key.files",
    "Future": "tasklineage.core.future",
    "Inline": "tasklineage.executors.inline",
    "Inputs": "tasklineage.core.inputs",
    "Key": "tasklineage.core.keyed",
    "LengthMismatch": "tasklineage.errors",
    "Lineage": "tasklineage.query.lineage",
    "MergeConflict": "tasklineage.errors",
    "MissingFile": "tasklineage.errors",
    "MissingObject": "tasklineage.errors",
    "NotFound": "tasklineage.errors",
    "Plan": "tasklineage.query.plans",
    "Dask": "tasklineage.executors.dask",
    "Processes": "tasklineage.executors.processes",
    "RefMoved": "tasklineage.errors",
    "Retry": "tasklineage.core.policy",
    "Run": "tasklineage.query.runs",
    "Secret": "tasklineage.key.secrets",
    "Store": "tasklineage.storage.store",
    "StoreBusy": "tasklineage.errors",
    "StoreError": "tasklineage.errors",
    "StoreNotFound": "tasklineage.errors",
    "StoreReadOnly": "tasklineage.errors",
    "StoreUnavailable": "tasklineage.errors",
    "Task": "tasklineage.core.task",
    "TaskTimeout": "tasklineage.errors",
    "TasklineageError": "tasklineage.errors",
    "Threads": "tasklineage.executors.threads",
    "TooManyItems": "tasklineage.errors",
    "UnhashableArgument": "tasklineage.errors",
    "UnreadableFile": "tasklineage.errors",
    "UnsafeFormat": "tasklineage.errors",
    "UnsatisfiableResources": "tasklineage.errors",
    "UnstorableResult": "tasklineage.errors",
    "UntrackedRead": "tasklineage.errors",
    "Why": "tasklineage.query.why",
    "SchedulerLost": "tasklineage.errors",
    "WorkerLost": "tasklineage.errors",
    "amap": "tasklineage.core.combinators",
    "calls": "tasklineage.query.find",
    "configure": "tasklineage.core.run",
    "current_call": "tasklineage.core.frame",
    "current_run": "tasklineage.core.ambient",
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
    "open_store": "tasklineage.storage.opening",
    "plan": "tasklineage.core.planning",
    "reflog": "tasklineage.query.tagging",
    "refs": "tasklineage.query.tagging",
    "register_digest": "tasklineage.key.digest",
    "run": "tasklineage.core.run",
    "pull": "tasklineage.query.transfers",
    "push": "tasklineage.query.transfers",
    "runs": "tasklineage.query.find",
    "tag": "tasklineage.query.tagging",
    "task": "tasklineage.core.task",
    "untag": "tasklineage.query.tagging",
    "whence": "tasklineage.query.history",
    "why": "tasklineage.query.why",
}
"""Where each name is. Nothing is loaded before it is asked for: pytest loads this package in every
session, for the plugin in `tasklineage.testing`, and most sessions need nothing of it."""


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
