"""The flows that `with_metaflow.py` runs: `FLOW=Calls python flows.py run`."""

from __future__ import annotations

import os
from typing import Any

import functions
from metaflow import FlowSpec, Parameter, step


class Calls(FlowSpec):
    """`add` over some numbers, a step each."""

    size = Parameter("size", type=int, default=1)

    @step
    def start(self) -> None:
        self.xs = list(range(self.size))
        self.next(self.call, foreach="xs")

    @step
    def call(self) -> None:
        self.y = functions.add(self.input)
        self.next(self.join)

    @step
    def join(self, inputs: Any) -> None:
        self.total = sum(one.y for one in inputs)
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


class Repeated(FlowSpec):
    """The same array from each of some steps."""

    size = Parameter("size", type=int, default=1)

    @step
    def start(self) -> None:
        self.xs = list(range(self.size))
        self.next(self.call, foreach="xs")

    @step
    def call(self) -> None:
        self.y = functions.same(self.input)
        self.next(self.join)

    @step
    def join(self, inputs: Any) -> None:
        self.total = sum(float(one.y[-1]) for one in inputs)
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


class Large(FlowSpec):
    """An array in, an array out."""

    size = Parameter("size", type=int, default=1)

    @step
    def start(self) -> None:
        self.array = functions.noise(self.size * 125_000)
        self.next(self.double)

    @step
    def double(self) -> None:
        self.result = functions.double(self.array)
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


class Chain(FlowSpec):
    """Five steps, each of which makes an array of the one before."""

    size = Parameter("size", type=int, default=1)

    @step
    def start(self) -> None:
        self.result = functions.noise(self.size * 125_000)
        self.next(self.double)

    @step
    def double(self) -> None:
        self.result = functions.double(self.result)
        self.next(self.raised)

    @step
    def raised(self) -> None:
        self.result = functions.raised(self.result)
        self.next(self.halved)

    @step
    def halved(self) -> None:
        self.result = functions.halved(self.result)
        self.next(self.lowered)

    @step
    def lowered(self) -> None:
        self.result = functions.lowered(self.result)
        self.next(self.turned)

    @step
    def turned(self) -> None:
        self.result = functions.turned(self.result)
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


if __name__ == "__main__":
    {"Calls": Calls, "Repeated": Repeated, "Large": Large, "Chain": Chain}[os.environ["FLOW"]]()
