"""The attempts of one executing call, from its begin record to its end record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from time import thread_time
from typing import TYPE_CHECKING, Any, TypeVar

from tasklineage.core import aliases, capture, extras, memos, origins
from tasklineage.core.call import Call
from tasklineage.core.capture import Capture
from tasklineage.core.failure import described, noted, status_of, without_our_frames
from tasklineage.core.frame import Frame, current
from tasklineage.core.loops import in_thread
from tasklineage.core.metering import NOTHING, Meter, Usage, added
from tasklineage.core.origins import Given
from tasklineage.errors import StoreError, UnhashableArgument, UnstorableResult
from tasklineage.key.digest import Unresolved, digest
from tasklineage.key.hidden import Hidden
from tasklineage.key.pins import State, meeting
from tasklineage.storage.records import (
    CAUGHT,
    DONE,
    Argument,
    Attempt,
    CallBegin,
    CallEnd,
    Edge,
    Ref,
    Swept,
    new,
    new_id,
)

if TYPE_CHECKING:
    from tasklineage.core.policy import Retry

E = TypeVar("E", bound=BaseException)

_SECRET = "tasklineage.Secret"
_BRIEF = 100e-6
"""Seconds below which a body's time is taken for its CPU time: to ask costs half a microsecond."""
_OUTLINES = 3
"""Calls of one run that outline the same value: some may fail to write their record."""
_WITHOUT_PICTURES = frozenset({"plain", "numpy", "tree", "pickle", "file"})
"""The most frequent codecs that store no pictures; the others are asked."""


class Body:
    """The attempts of one executing call, from its begin record to its end record."""

    __slots__ = (
        "arguments", "attempts", "began", "cached", "clock", "frame", "log", "started", "this",
        "tokens", "took", "usage",
    )  # fmt: skip

    def __init__(self, this: Call) -> None:
        this.id = new_id()
        self.open(this)
        self.begin()
        self.describe()

    def open(self, this: Call, attempts: Iterable[Attempt] = ()) -> None:
        """Make the frame of a call that has an id; `attempts` are over."""
        self.this = this
        self.frame = Frame(this.run, this.id, this.task.name, this.key, this.parent, this.position)
        self.attempts: list[Attempt] = list(attempts)
        self.frame.attempt = len(self.attempts)
        self.started = self.attempts[0].started if self.attempts else time.time()
        self.usage: Usage = NOTHING
        self.clock: float | Meter | None = None
        """CPU seconds of this thread when the attempt began, or what measures it; None: nothing."""
        closure = this.code.closure
        self.cached = [c.cache_info() for c in closure.caches] if closure.is_loose else ()

    def begin(self) -> None:
        """Record that the call is about to execute."""
        this, run, parent = self.this, self.this.run, self.this.parent
        code = this.code.digest
        fields = (
            this.id, run.id, parent.id, this.task.name, code, this.key, self.started, this.position
        )  # fmt: skip
        begin: CallBegin = new(CallBegin, fields)
        if this.salt:
            told = extras.records(this.task.track, this.salt, run.store.has_code)
            if told:
                run.append_all(tuple(told))
        if run.store.has_code(code):
            run.append(begin)
        else:
            run.append_all((aliases.record_of(this.task, this.code), begin))

    def describe(self) -> None:
        """Take down the arguments, before the body can change them: their digests are known."""
        this, recorded = self.this, self.recorded_arguments
        self.arguments = _without_secrets(this, recorded) if Hidden.in_use else recorded(this)
        self.trace()
        if this.edges:
            self.frame.given = Given(zip(this.plan.names, this.bound, strict=True), this.edges)

    @staticmethod
    def recorded_arguments(this: Call) -> tuple[Argument, ...]:
        """The bound arguments as they are recorded, with outlines of those that are not stored."""
        arguments = stored_arguments(this)
        for argument in arguments:
            if argument[1][4] is None:
                return _outlined(this, arguments)
        return arguments

    def trace(self) -> None:
        """Find out where the arguments came from, before others know them as theirs."""
        this, around = self.this, self.this.parent.call
        given = None if around is None else around.given
        if this.run.origins or given is not None:
            this.edges = self._known_edges(given)

    def made_log(self) -> Capture:
        """What an attempt's output is captured in."""
        return Capture()

    def status_of(self, error: BaseException) -> str:
        """How an attempt, or the call, ends that raised this."""
        return status_of(error)

    def enter(self) -> None:
        """Begin an attempt: the frame is current, what is printed is captured."""
        self.log = self.made_log()
        self.began = time.time()
        self.tokens = current.set(self.frame), capture.begin(self.log)

    def made_meter(self) -> Meter:
        """What measures more than the CPU time of this thread."""
        return Meter()

    def leave(self) -> None:
        """End an attempt."""
        self.took = took = time.time() - self.began
        if took < _BRIEF and self.usage is NOTHING and type(self.clock) is float:
            self.usage = max(took, 0.0), None, None
        elif self.clock is not None:
            self._add_usage(self.clock)
        frame_token, log_token = self.tokens
        capture.end(log_token)
        current.reset(frame_token)

    def _add_usage(self, clock: float | Meter) -> None:
        """Add what an attempt took."""
        taken = clock.end() if isinstance(clock, Meter) else (thread_time() - clock, 0, 0)
        self.usage = added(self.usage, taken)

    def settle(self, value: Any) -> Any:
        """Wait for the Fanouts and Futures that the body began; its value without them."""
        from tasklineage.core.future import settle

        return settle(self.frame, value)

    async def settle_async(self, value: Any) -> Any:
        """As `settle`, with the waiting done in another thread."""
        return await in_thread(self.settle, value)

    def delay_after(self, error: BaseException) -> float | None:
        """Seconds until the next attempt; None: the call has failed."""
        if self.frame.pending:
            from tasklineage.core.future import abandon

            abandon(self.frame)
        index = self.frame.attempt
        delay = retry_delay(self.this.task.settings.retries, error, index)
        if delay is not None or self.attempts:
            self._note_attempt(self.status_of(error), described(error))
        if delay is not None:
            self.frame.attempt = index + 1
            self.frame.fold = self.frame.fold.begun_again()
        return delay

    def succeed(self, value: Any) -> Any:
        """Store the value and record the call as done; the value."""
        this = self.this
        if self.attempts:
            self._note_attempt(DONE, None)
        try:
            if State.in_use or this.plan.files is not None:
                value, value_digest, mutated = self._with_files(value)
            else:
                value, value_digest = self._digested(value)
                mutated = _mutated(this, self.took)
                this.output = this.run.store.put(value, value_digest)
            if self.frame.fold.accesses is not None or this.code.closure.is_loose:
                from tasklineage.core import reads  # files were opened, or may have been before

                reads.settle(this, self.frame.fold, value, self.cached)
        except (UnhashableArgument, UnstorableResult, Unresolved) as error:
            return self._unstorable(value, error)
        except StoreError as error:
            raise _with_value(error, value, this) from error
        except Exception as error:  # raised by the user's own code for copying or comparing
            raise self._failed(error) from error.__cause__
        this.status = DONE
        parts = origins.parts_of(value)
        named = origins.named(parts) if parts else ()
        if this.output.codec not in _WITHOUT_PICTURES:
            named += origins.pictures(this.run.store, this.output)
        self._record(value, this.output, mutated, None, named)
        this.run.origins.note(value, value_digest, this.id, parts)
        return value

    def _digested(self, value: Any) -> tuple[Any, bytes]:
        """The value with results in the place of Futures, and its digest."""
        try:
            return value, digest(value, "result")
        except Unresolved:
            pass  # its failure is no consequence of this
        token = current.set(self.frame)
        try:
            value = self.settle(value)
        finally:
            current.reset(token)
        return value, digest(value, "result")

    def _with_files(self, value: Any) -> tuple[Any, bytes, tuple[str, ...]]:
        """As `succeed` begins, for a value that may have Files in it."""
        from tasklineage.core import files  # there are some

        this = self.this
        if this.plan.files is not None:
            value = this.plan.files.returned(value)
        with meeting() as found:
            value, value_digest = self._digested(value)
        mutated = _mutated(this, self.took)
        store, fold = this.run.store, self.frame.fold
        if found:
            this.output = files.stored(store, value, value_digest, found, fold)
        else:
            this.output = store.put(value, value_digest)
        files.settle(fold)
        return value, value_digest, mutated

    def fail(self, error: BaseException) -> Any:
        """Record the call as failed and raise, or as caught and return the default."""
        settings = self.this.task.settings
        if not (settings.catch and isinstance(error, settings.catch)):
            raise self._failed(error)
        try:
            return self._caught(error)
        except Exception as broken:  # raised by `default`, or by storing what it gave
            raise self._failed(broken) from error

    def _caught(self, error: BaseException) -> Any:
        from copy import deepcopy

        this, default = self.this, self.this.task.settings.default
        value = default(error) if callable(default) else deepcopy(default)
        output = this.run.store.put(value, digest(value))
        this.status, this.output = CAUGHT, output
        self._record(value, output, (), error)
        return value

    def _failed(self, error: E) -> E:
        """The exception, noted, after the call has been recorded as failed with it."""
        this = self.this
        this.status = self.status_of(error)
        try:
            self._record(None, None, (), error)
        except StoreError as unwritten:
            this.run.warn_unwritten(unwritten)
        return noted(error, this.task.name, this.id, this.run.id)

    def _unstorable(self, value: Any, error: Exception) -> Any:
        """A finished result that has no digest or no codec is handed over in the exception.

        A task that is never a memo needs no stored result: its value is returned.
        """
        this = self.this
        if not this.task.settings.memo:
            output = _not_stored(value)
            self._record(value, output, (), None)
            return value
        path = getattr(error, "path", "result")
        raised = UnstorableResult(
            f"the result of {this.task.name} cannot be stored: {error}. The finished value is in "
            "`.value` of this exception; return something that can be stored, or use "
            "@task(memo=False).",
            value=value,
            path=path,
        )
        raise self._failed(raised) from without_our_frames(error)

    def _record(
        self,
        value: Any,
        output: Ref | None,
        mutated: tuple[str, ...],
        error: BaseException | None,
        parts: origins.RecordedParts = (),
    ) -> None:
        """Append the end record, then fold the call into its parent."""
        this, run = self.this, self.this.run
        task, fold, store = this.task, self.frame.fold, self.this.run.store
        code = this.code.digest
        members = memos.own_members(this, fold)
        volatile = fold.volatile
        if mutated and not volatile:
            volatile = f"{task.name}: changed {', '.join(mutated)} in place"
        is_memo = this.status == DONE and task.settings.memo and not volatile
        ended = time.time()
        fields = (
            this.id, run.id, this.parent.id, task.name, code, this.key, self.started,
            this.position, this.status, ended, is_memo, output, self.arguments, this.edges,
            None if error is None else described(error), tuple(self.attempts),
            *self._logs(), fold.expires,
            tuple(sorted(fold.conditions)) if fold.conditions else (),
            store.intern_versions(members) if members else None, volatile, mutated,
            task.settings.tags, this.code.untracked, run.worker_name(),
            tuple([(c.name, c.digest) for c in this.salt]) if this.salt else (), parts,
            this.miss, *self.usage,
        )  # fmt: skip
        record: CallEnd = new(CallEnd, fields)
        try:
            try:
                self.appended(record)
            except Swept:
                from tasklineage.core.swept import record_again  # very rare

                this.output = record_again(store, record, value) or this.output
        except StoreError as unwritten:
            raise _with_value(unwritten, value, this) from unwritten
        finally:
            if this.parent.call is not None:
                memos.fold_execution(this.parent.fold, this, fold, members, volatile, ended)

    def appended(self, record: CallEnd) -> None:
        """Append the end record."""
        self.this.run.append(record)

    def _note_attempt(self, status: str, error: Any) -> None:
        ended, logs = time.time(), self._printed()
        self.attempts.append(Attempt(self.frame.attempt, status, self.began, ended, error, *logs))

    def _logs(self) -> tuple[Any, Any]:
        """What was printed: by the last attempt; each earlier one keeps its own."""
        if self.attempts:
            return self.attempts[-1].stdout, self.attempts[-1].stderr
        return self._printed()

    def _printed(self) -> tuple[Any, Any]:
        """What was printed by this attempt."""
        log = self.log
        if log.is_empty():
            return None, None
        store = self.this.run.store
        return _text(store, log.stdout()), _text(store, log.stderr())

    def _known_edges(self, around: Given | None) -> tuple[Edge, ...]:
        """Where the arguments came from: the Digest of each is that of the whole value."""
        this, table = self.this, self.this.run.origins
        known = {edge.path for edge in this.edges}
        found = list(this.edges)
        for argument, value in zip(self.arguments, this.bound, strict=True):
            name, whole = argument.name, argument.ref[0]
            if name not in known and whole:
                edges = table.edges(name, value, whole, around)
                found += [edge for edge in edges if edge.path not in known]
        return tuple(found)


def stored_arguments(this: Call) -> tuple[Argument, ...]:
    """The bound arguments as they are recorded: inline, by reference, or described.

    Where those that are to be stored cannot be written, they are described.
    """
    keep = this.task.settings.store_args
    if keep is None:
        keep = this.run.store_args
    try:
        return _as_given(this, keep=keep)
    except StoreError as error:
        this.run.warn_unwritten(error)
        return _as_given(this, keep=False)


def _without_secrets(
    this: Call, recorded: Callable[[Call], tuple[Argument, ...]]
) -> tuple[Argument, ...]:
    from tasklineage.core import hiding  # something is secret

    return hiding.arguments(this, recorded)


def described_arguments(this: Call) -> tuple[Argument, ...]:
    """The bound arguments as they would be recorded; nothing is stored."""
    return _outlined(this, _as_given(this, keep=False))


def _as_given(this: Call, *, keep: bool) -> tuple[Argument, ...]:
    describe = this.run.store.describe
    if this.plan.is_plain:
        named = zip(this.plan.names, this.bound, this.digests, strict=True)
        return tuple(
            [new(Argument, (n, describe(v, d, keep=keep), True, None)) for n, v, d in named]
        )
    return tuple(
        Argument(name, _described(this, i, keep=keep), this.plan.counts(i))
        for i, name in enumerate(this.plan.names)
    )


def _outlined(this: Call, arguments: tuple[Argument, ...]) -> tuple[Argument, ...]:
    """The arguments, those that are only described with an outline of their values.

    Only the first calls of a run that are given the same value say it: it may take a pass over
    all bytes, and a map may have many elements.
    """
    from tasklineage.storage.codecs.outline import outline  # for what is large

    run, outlined = this.run, list(arguments)
    for i, argument in enumerate(arguments):
        ref = Ref(*argument.ref)
        count = 0 if ref.is_stored else run.outlined.get(ref.digest, 0) + 1
        if 0 < count <= _OUTLINES:
            run.outlined[ref.digest] = count
            last, known = run.last_outline
            if not last or last != ref.digest:
                known = outline(this.bound[i])
                run.last_outline = ref.digest, known
            outlined[i] = argument._replace(outline=known)
    return tuple(outlined)


def _described(this: Call, index: int, *, keep: bool) -> Ref:
    """An argument as it is recorded, by the digest of the whole, whatever of it counts."""
    value = this.bound[index]
    try:
        return this.run.store.describe(value, this.plan.whole_digest(this, index), keep=keep)
    except UnhashableArgument:
        return _not_stored(value)


def _not_stored(value: Any) -> Ref:
    from tasklineage.storage.codecs.describe import type_name

    name = type_name(type(value))
    return Ref(b"", name, preview=repr(value) if name == _SECRET else "not stored")


def _mutated(this: Call, took: float) -> tuple[str, ...]:
    """The parameters, and the globals that the task reads, that its body changed in place."""
    names = (*this.changed_arguments(took), *this.changed_globals())
    if names:
        this.run.warn_mutated(this.task.name, names)
    return names


def retry_delay(retries: Retry | None, error: BaseException, attempt: int) -> float | None:
    """Seconds until the attempt after that one; None: there is none."""
    if retries is None or not retries.should_retry(error, attempt):
        return None
    from random import random  # slow to import, rarely needed

    return retries.delay(attempt, random())


def _text(store: Any, text: str) -> Any:
    if Hidden.in_use:
        from tasklineage.key.redaction import redact

        text = redact(text)
    return store.put(text, digest(text)) if text else None


def _with_value(error: StoreError, value: Any, this: Call) -> StoreError:
    """The error of the store with the finished work, which is not lost."""
    error.value = value
    error.add_note(f"the call of {this.task.name} had finished: its result is in `.value`")
    return error
