"""Where values come from and go to on the interpreter's stack, as far as straight code shows it."""

from __future__ import annotations

import opcode
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

_NUMBERS = {
    **opcode.opmap,
    **{n.replace("JUMP_FORWARD", "JUMP"): op for n, op in opcode.opmap.items() if op < 256},
}
_ENDS = frozenset({"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"})


class Instruction(NamedTuple):
    """One instruction that counts; `target` is the offset a jump goes to, else -1."""

    op: str
    arg: int
    offset: int
    target: int = -1


def effect(instruction: Instruction) -> int:
    """By how much an instruction makes the stack grow, where it does not jump."""
    op, arg = instruction.op, instruction.arg
    if op == "CALL":
        return -1 - arg
    argument = arg if _NUMBERS[op] >= opcode.HAVE_ARGUMENT else None
    return opcode.stack_effect(_NUMBERS[op], argument, jump=False)


def expression_start(instructions: Sequence[Instruction], last: int) -> int | None:
    """Index of the first instruction of the expression that ends at `last`.

    None where it cannot be told: the expression branches, or reaches before the beginning.
    """
    height = 0
    for n in range(last, -1, -1):
        if instructions[n].target >= 0:
            return None
        height += effect(instructions[n])
        if height == 1:
            return n
    return None


class Consumer(NamedTuple):
    """Where a value on the stack is used up."""

    place: int
    height: int
    """Values left on the stack, counted from the one that was followed."""
    is_updated: bool
    """Whether an item of the value was read only to be stored again, as in `d[k] += 1`."""


def consumer(instructions: Sequence[Instruction], start: int, height: int) -> Consumer | None:
    """The one instruction that uses up the value that lies `height` deep before `start`.

    All ways through the code from `start` are followed. None where several instructions may use
    it, where it is copied or moved, or where the code leaves the function first.
    """
    waiting, seen = [(start, height)], dict[int, int]()
    found: set[Consumer] = set()
    is_updated = False
    while waiting:
        n, height = waiting.pop()
        if n >= len(instructions) or instructions[n].op in _ENDS or seen.get(n, height) != height:
            return None
        if n in seen:
            continue
        seen[n] = height
        instruction = instructions[n]
        op, arg = instruction.op, instruction.arg
        if op in ("COPY", "SWAP") and arg >= height:
            if op == "COPY" and height == 2 and _is_update(instructions, n):
                is_updated = True
                waiting.append((n + 3, height + 1))
                continue
            if not (is_updated and op == "SWAP" and _is_store_back(instructions, n)):
                return None
        after = height + effect(instruction)
        if after < 2:
            found.add(Consumer(n, after, is_updated))
            continue
        if instruction.target >= 0:
            jumped = height + opcode.stack_effect(_NUMBERS[op], arg, jump=True)
            waiting.append((_index_of(instructions, instruction.target), jumped))
        if op != "JUMP":
            waiting.append((n + 1, after))
    return found.pop() if len(found) == 1 else None


def _index_of(instructions: Sequence[Instruction], offset: int) -> int:
    return bisect_left(instructions, offset, key=lambda i: i.offset)


def _is_update(instructions: Sequence[Instruction], n: int) -> bool:
    """Whether an item is read here so that an operation on it can be stored at its place."""
    read = [(i.op, i.arg) for i in instructions[n : n + 3]]
    return read[:2] == [("COPY", 2)] * 2 and read[2:] == [("BINARY_SUBSCR", 0)]


def _is_store_back(instructions: Sequence[Instruction], n: int) -> bool:
    """Whether the result of such an operation is being stored here."""
    ops = [(i.op, i.arg) for i in instructions[n : n + 3]]
    full = [("SWAP", 3), ("SWAP", 2), ("STORE_SUBSCR", 0)]
    return ops == full or ops[:2] == full[1:]
