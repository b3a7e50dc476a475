"""Jumps in a form that does not depend on how the source was laid out.

The compiler threads jumps, and copies or drops the small blocks they lead to, partly by line
number. So every jump is made to lead where it ends up, and what then cannot be reached goes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from tasklineage.key.stack import Instruction

Handler = tuple[int, int, int, int]
"""Start, end and handler of a protected range, with its stack depth and flag."""
Targets = dict[int, int]
"""Index of a jump -> index of the instruction that it leads to."""

_STOPS = frozenset(
    {
        "JUMP", "JUMP_BACKWARD_NO_INTERRUPT", "RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS",
        "RERAISE",
    }
)  # fmt: skip
_OPPOSITES = {
    "POP_JUMP_IF_FALSE": "POP_JUMP_IF_TRUE",
    "POP_JUMP_IF_TRUE": "POP_JUMP_IF_FALSE",
    "POP_JUMP_IF_NONE": "POP_JUMP_IF_NOT_NONE",
    "POP_JUMP_IF_NOT_NONE": "POP_JUMP_IF_NONE",
}


def straightened(
    instructions: list[Instruction], handlers: Sequence[Handler]
) -> tuple[list[Instruction], Targets, list[Handler]]:
    """Instructions, where the jumps among them lead, and exception handlers, all by index."""
    jumps = [n for n, i in enumerate(instructions) if i.target >= 0]
    if not jumps and not handlers:
        return instructions, {}, []
    offsets = [i.offset for i in instructions]
    targets = {n: bisect_left(offsets, instructions[n].target) for n in jumps}
    ranges = _by_index(offsets, handlers)
    code = list(instructions)
    while True:
        for n in targets:
            _thread(code, targets, n)
        _turn_around(code, targets)
        kept = _alive(code, targets, {start for _, _, start, _ in ranges})
        if len(kept) == len(code):
            return code, targets, ranges
        code = [code[n] for n in kept]
        targets = {
            new: bisect_left(kept, targets[old]) for new, old in enumerate(kept) if old in targets
        }
        ranges = _by_index(kept, ranges)


def _by_index(offsets: list[int], handlers: Iterable[Handler]) -> list[Handler]:
    """The exception table by index, with neighbours of the same handler joined."""
    ranges: list[Handler] = []
    for start, end, handler, flags in handlers:
        first, last = bisect_left(offsets, start), bisect_left(offsets, end)
        entry = bisect_left(offsets, handler), flags
        if first == last:
            continue
        if ranges and ranges[-1][1:] == (first, *entry):
            first = ranges.pop()[0]
        ranges.append((first, last, *entry))
    return ranges


def _thread(code: list[Instruction], targets: Targets, n: int) -> None:
    """Make a jump lead past the jumps that it leads to."""
    seen: set[int] = set()
    while (target := targets[n]) < len(code) and target not in seen:
        seen.add(target)
        op = code[target].op
        if op == "JUMP":
            targets[n] = targets[target]
        elif code[n].op.endswith("_OR_POP") and op.startswith(("JUMP_IF", "POP_JUMP_IF")):
            _short_cut(code, targets, n)
        else:
            return


def _short_cut(code: list[Instruction], targets: Targets, n: int) -> None:
    """A test that keeps its operand for the next test, which is then known to go one way."""
    target = targets[n]
    op, then = code[n].op, code[target].op
    if then.endswith("NONE"):
        return
    goes = ("IF_TRUE" in then) == ("IF_TRUE" in op)
    if not then.endswith("_OR_POP") or not goes:
        kind = "POP_JUMP_IF_TRUE" if "IF_TRUE" in op else "POP_JUMP_IF_FALSE"
        code[n] = code[n]._replace(op=kind)
    targets[n] = targets[target] if goes else target + 1


def _turn_around(code: list[Instruction], targets: Targets) -> None:
    """Make a test that jumps over a jump the opposite test with that jump's target.

    Since Python 3.12 the compiler writes a test that leads backward in this form.
    """
    for n, target in targets.items():
        is_over = target == n + 2 and code[n + 1].op == "JUMP" and code[n].op in _OPPOSITES
        if is_over:
            code[n] = code[n]._replace(op=_OPPOSITES[code[n].op])
            targets[n], targets[n + 1] = targets[n + 1], n + 2


def _alive(code: list[Instruction], targets: Targets, handlers: set[int]) -> list[int]:
    """Indices of what can be reached, without jumps to the next instruction."""
    entries = {*targets.values()} | handlers
    alive: list[int] = []
    is_open = True
    for n, instruction in enumerate(code):
        is_open = is_open or n in entries
        if is_open and not (instruction.op == "JUMP" and targets[n] == n + 1):
            alive.append(n)
            is_open = instruction.op not in _STOPS
    return alive
