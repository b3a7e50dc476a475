"""The public API as type checkers see it. Checked by the strict modes of both; never executed."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, assert_type

import tasklineage as tl
from tasklineage import task
from tasklineage.query.refs import RefVersion
from tasklineage.query.transfers import Transfer


class Model:
    """What a training returns."""


# A decorated function keeps its signature, with and without parentheses.


@task
def train(rows: list[float], lr: float = 0.1) -> Model:
    return Model()


def etag(model: Model) -> str:
    return ""


@task
def keyed(model: Annotated[Model, tl.Key(etag)], *more: Annotated[Model, tl.Key(etag)]) -> int:
    return 1


assert_type(keyed(Model(), Model()), int)
tl.register_digest(Model, etag)


@task()
def bare_parentheses(x: int) -> str:
    return str(x)


@task(
    name="evaluation",
    version="1",
    memo=False,
    ignore=("verbose",),
    key={"model": lambda model: 0},
    ttl=timedelta(hours=1),
    track=("dist:numpy", "env:SEED", train),
    retries=tl.Retry(3, wait=0.5, backoff=2.0, jitter=0.1, on=(OSError,)),
    catch=(ValueError,),
    default=lambda error: 0.0,
    executor="threads:2",
    tags=("slow",),
)
def evaluate(model: Model, *, verbose: bool = False) -> float:
    return 0.0


@task
async def fetch(url: str) -> bytes:
    return b""


@task
def choose(candidates: tl.Inputs) -> Model:
    return train([1.0])


@task
def total(numbers: list[float]) -> float:
    return sum(numbers)


assert_type(train([1.0], lr=0.2), Model)
assert_type(train([1.0]), Model)
assert_type(bare_parentheses(1), str)
assert_type(evaluate(Model(), verbose=True), float)
train("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
train([1.0], rate=0.2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
evaluate()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
undecorated: Callable[[list[float], float], Model] = train.__wrapped__


# What hangs on a task takes the same arguments.

assert_type(train.submit([1.0], lr=0.2), tl.Future[Model])
assert_type(train.submit([1.0]).result(timeout=1.0), Model)
assert_type(train.submit([1.0]).exception(), BaseException | None)
assert_type(train.submit([1.0]).done(), bool)
assert_type(train.submit([1.0]).cancel(), bool)
assert_type(train.bind([1.0]), tl.BoundCall[Model])
assert_type(train.options(memo=False)([1.0]), Model)
assert_type(train.cached([1.0], lr=0.2), bool)
assert_type(train.code_version, str)
train.forget([1.0])

# Futures and bound calls may be passed for values.

assert_type(evaluate.submit(train.submit([1.0])), tl.Future[float])
assert_type(evaluate.bind(train.bind([1.0])), tl.BoundCall[float])


# Methods work: `self` is an argument, and is not asked for.


class Trainer:
    """A class with a task among its methods."""

    @task
    def fit(self, rows: list[float]) -> Model:
        return train(rows)

    @staticmethod
    @task
    def load(name: str) -> list[float]:
        return []


assert_type(Trainer().fit([1.0]), Model)
assert_type(Trainer.load("x"), list[float])
Trainer().fit("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Combinators.

assert_type(tl.map(train, [[1.0], [2.0]], lr=0.2), tl.Fanout[Model])
models = tl.map(train, ([float(i)] for i in range(3)), on_error="collect", max_workers=2)
assert_type(models[0], Model)
assert_type(models[1:], list[Model])
assert_type(iter(models), Iterator[Model])
assert_type(models.results(), list[Model])
assert_type(models.as_completed(), Iterator[Model])
assert_type(models.failures, list[tl.Failure])
assert_type(models.hits, int)
assert_type(models.executed, int)
assert_type(models.failures[0].error, BaseException)
assert_type(models.failures[0].index, int)
tl.map(train, [[1.0]], on_error="ignore")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]

left, right = tl.gather(train.bind([1.0]), total.bind([1.0, 2.0]))
assert_type(left, Model)
assert_type(right, float)
assert_type(tl.join(choose, {"a": train.bind([1.0]), "b": train.bind([2.0])}), Model)
assert_type(tl.join(total, tl.map(total, [[1.0], [2.0]])), float)


# Coroutines.


async def coroutines() -> None:
    assert_type(await fetch("x"), bytes)
    assert_type(fetch.submit("x"), tl.Future[bytes])
    assert_type(await fetch.submit("x"), bytes)
    assert_type(await train.submit([1.0]), Model)
    assert_type(await tl.amap(fetch, ["x", "y"]), list[bytes])


pending: Coroutine[Any, Any, bytes] = fetch("x")


# Files.


@task
def convert(data: tl.File, more: list[tl.File], folder: tl.Dir | None = None) -> tl.File:
    with open(data) as file:
        file.read()
    for member in folder or ():
        assert_type(member, tl.File | tl.Dir)
    return tl.File(Path("out.bin"), store=False)


converted = convert(tl.File("a.csv"), [])
assert_type(converted, tl.File)
assert_type(converted.path, str)
assert_type(converted.digest, str)
assert_type(converted.text(), str)
assert_type(converted.bytes(), bytes)
assert_type(tl.Dir("data") / "a.csv", tl.File | tl.Dir)
path: os.PathLike[str] = converted
Path(tl.Dir("data"))


# Secrets.


@task
def log_in(user: str, token: tl.Secret[str]) -> int:
    assert_type(token.value, str)
    return 1


assert_type(log_in("ann", tl.Secret("x", "api", counts=True)), int)
assert_type(tl.Secret(b"x"), tl.Secret[bytes])
assert_type(tl.Secret(b"x").name, str)


# Runs and queries.

with tl.run("churn", executor="threads", params={"lr": 0.1}, tags=("exp",)) as run:
    assert_type(run, tl.Run)
    assert_type(run.hits, int)
    assert_type(run.executed, int)
    assert_type(run.failed, int)

with tl.run(verify=0.05, limits={"db": 4, "memory": "8GB"}) as run:
    assert_type(run.verified, int)
    assert_type(run.differing, int)
    assert_type([one.cause for one in run.verifications], list[str])

with tl.run(refresh=("train",)):
    pass
with tl.run(refresh=True, store="somewhere", durability="power"):
    pass

tl.configure(store="somewhere", executor="inline", namespace="prod", reads="warn")
store = tl.open_store("somewhere", allow_pickle=False, read_only=True)
assert_type(store, tl.Store)
assert_type(tl.current_run(), tl.Run | None)
assert_type(tl.latest("churn", status="done"), tl.Run | None)
assert_type(tl.get("01"), tl.Run | tl.Call | tl.Artifact)


def what_differs(one: tl.Run, other: tl.Run, model: Model) -> None:
    assert_type(one.diff(other), tl.Diff)
    assert_type(tl.diff(model, "model/prod", store="other"), tl.Diff)
    assert_type(tl.diff(one, other).changed[0].text, str)
    assert_type(bool(tl.diff(one, other)), bool)


def names_that_move(model: Model, call: tl.Call) -> None:
    assert_type(tl.tag(model, "model/prod", message="why"), RefVersion)
    tl.tag(call, "best", expected=None)
    tl.tag("best@1", "best", expected=tl.reflog("best")[0])
    tl.tag(call, "best", expected=call, store="other")
    assert_type(tl.untag("best"), RefVersion)
    assert_type(tl.refs("model/*")[0], RefVersion)
    assert_type(tl.refs()["model/prod"], RefVersion)
    assert_type(tl.reflog("best"), Sequence[RefVersion])
    assert_type(tl.reflog("best")[0].target, tl.Run | tl.Call | tl.Artifact)
    assert_type(tl.reflog("best")[0].previous, str | None)
    tl.load("model/prod", device="cuda:1")


def stores_that_share(run: tl.Run, other: tl.Store) -> None:
    assert_type(tl.push("elsewhere", run, "model/prod", store="here"), Transfer)
    assert_type(tl.pull(other, dry_run=True).refs, tuple[str, ...])
    assert_type(str(tl.push(other)), str)


def parts_of_values(artifact: tl.Artifact) -> None:
    assert_type(artifact["price"], Any)
    assert_type(artifact.columns, list[Any] | None)
    assert_type(artifact.parts, dict[str, tl.Artifact])


for found in tl.runs(name="churn", tag=("exp",), limit=10, store=store):
    assert_type(found, tl.Run)
    assert_type(found.started, datetime)
for call in tl.calls(task="train", status="done"):
    assert_type(call, tl.Call)
    assert_type(call.task, str)
    assert_type(call.hit, bool)
    assert_type(call.producer, tl.Call | None)
    assert_type(call.children, Sequence[tl.Call])

# Lineage.

lineage = tl.whence([1, 2], depth=3, limit=None, store=store)
assert_type(tl.why("0660cab2", store=store), tl.Why)
assert_type(lineage, tl.Lineage)
assert_type(tl.lineage("01", "both", depth=1), tl.Lineage)
assert_type(lineage.calls, tuple[tl.Call, ...])
assert_type(lineage.is_cut, bool)
assert_type(lineage.to_mermaid(), str)
assert_type(lineage.to_dot(), str)
for node in lineage:
    assert_type(node, tl.Call | tl.Artifact)
for edge in lineage.edges:
    assert_type(edge.producer, tl.Call | tl.Artifact)
    assert_type(edge.via, str)
assert_type(run.graph(), tl.Lineage)


# Executors, and time limits.


@task(timeout=2.5, executor=tl.Processes(2))
def limited(x: int) -> str:
    return str(x)


assert_type(limited(1), str)
assert_type(tl.map(limited, [1], executor=tl.Processes()).results(), list[str])
