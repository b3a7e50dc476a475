"""How a function uses attributes by their names: which it reads, and which it only writes to.

`Stats.calls += 1` reads an attribute in order to write it again, and tells nothing of it to the
code around. An attribute is only written to if that is so in all code that a task reaches, and
nothing there can come by its name in another way: by a text with that word in it, by a name that
is computed, by a look at all attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tasklineage.key.bytecode import Block
from tasklineage.key.stack import Instruction, consumer

_LOADS = frozenset(
    {
        "LOAD_ATTR",
        "LOAD_METHOD",
        "LOAD_SUPER_ATTR",
        "IMPORT_FROM",
        "DELETE_ATTR",
        "LOAD_SUPER_METHOD",
    }
)
_VARIABLES = frozenset({"LOAD_FAST", "LOAD_DEREF", "LOAD_GLOBAL", "LOAD_FAST_CHECK"})
_OF_OBJECT = _LOADS | {"STORE_ATTR"}
_LOOKS_AT_ALL = frozenset(
    {
        "vars", "dir", "eval", "exec", "globals", "locals", "getmembers", "getmembers_static",
        "attrgetter", "__dict__", "__getattribute__", "__getstate__", "__reduce__",
        "__reduce_ex__", "__slots__", "_getframe", "currentframe", "getattr_static",
        "format_map", "get_objects", "get_referrers", "get_referents",
    }
)  # fmt: skip
_TAKES_NAMES = frozenset({"getattr", "setattr", "hasattr", "delattr"})
_CONSTRUCTORS = frozenset({"__init__", "__new__", "__post_init__", "__init_subclass__"})
_WORD = re.compile(r"\w+")


class Uses(NamedTuple):
    """What a function, with all that is nested in it, does to attributes."""

    read: frozenset[str]
    """Names that are read, and words of its texts, which may be such names."""
    written: frozenset[str]
    """Names that are assigned, but for what a constructor gives to its object."""
    updated: frozenset[str]
    """Those of them that are read to be assigned again: `x.n += 1`."""
    looks_at_all: bool
    """Whether it can read attributes by names that it does not spell out."""
    gives_self: bool
    """Whether it does more with its first parameter than to take and assign attributes of it."""


def uses_of(root: Block) -> Uses:
    """What a function does to attributes."""
    read, written, updated = set[str](), set[str](), set[str]()
    looks_at_all = False
    for block in root.blocks():
        is_constructor = block.code.co_name in _CONSTRUCTORS
        for n, instruction in enumerate(block.instructions):
            name = block.name(instruction)
            if instruction.op == "STORE_ATTR":
                if not (is_constructor and _is_of_first(root, block, n)):
                    written.add(name)
            elif instruction.op in _LOADS:
                is_update = instruction.op == "LOAD_ATTR" and _is_update(block, n)
                (updated if is_update else read).add(name)
            looks_at_all |= name in _LOOKS_AT_ALL or _takes_names(block, n)
            read.update(_words(block, instruction))
    return Uses(
        frozenset(read), frozenset(written), frozenset(updated), looks_at_all, _gives_self(root)
    )


def _is_of_first(root: Block, block: Block, n: int) -> bool:
    """Whether what is assigned at `n` is an attribute of the first parameter."""
    return block is root and block.operand(block.instructions[n - 1]) == root.slots[0]


def _is_update(block: Block, n: int) -> bool:
    """Whether the attribute that is loaded at `n` is operated on and stored where it was."""
    code = block.instructions
    used = consumer(code, n + 1, 1)
    if used is None or code[used.place].op != "BINARY_OP" or used.height != 1:
        return False
    following = code[used.place + 1 : used.place + 3]
    if len(following) < 2 or following[1].op != "STORE_ATTR":
        return False
    if block.name(following[1]) != block.name(code[n]):
        return False
    before, between = code[n - 1], following[0]
    if (before.op, before.arg) == ("COPY", 1):
        return (between.op, between.arg) == ("SWAP", 2)
    is_same = (before.op, before.arg) == (between.op, between.arg)
    return is_same and before.op in _VARIABLES


def _takes_names(block: Block, n: int) -> bool:
    """Whether `getattr` and the like are given a name that is computed, or passed on."""
    instruction = block.instructions[n]
    name = block.name(instruction)
    if name == "format":  # of a text that is not spelt out
        return n == 0 or block.instructions[n - 1].op != "LOAD_CONST"
    if name not in _TAKES_NAMES or instruction.op == "STORE_ATTR":
        return False
    is_called = instruction.op == "LOAD_GLOBAL" and instruction.arg & 1
    called = consumer(block.instructions, n + 1, 2) if is_called else None
    between = block.instructions[n + 1 : called.place] if called is not None else []
    return not any(isinstance(text, str) for i in between for text in _texts(block, i))


def _words(block: Block, instruction: Instruction) -> Iterator[str]:
    for text in _texts(block, instruction):
        yield from _WORD.findall(text)


def _texts(block: Block, instruction: Instruction) -> Iterator[str]:
    if instruction.op not in ("LOAD_CONST", "RETURN_CONST", "KW_NAMES"):
        return
    waiting: list[object] = [block.code.co_consts[instruction.arg]]
    while waiting:
        constant = waiting.pop()
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, (tuple, frozenset)):
            waiting.extend(constant)  # pyright: ignore[reportUnknownArgumentType]


def _gives_self(root: Block) -> bool:
    """Whether the first parameter is used otherwise than by its attributes."""
    if not root.code.co_argcount:
        return False
    own = root.slots[0]
    for block in root.blocks():
        code = block.instructions
        for n, instruction in enumerate(code):
            if not instruction.op.startswith("LOAD") or block.operand(instruction) != own:
                continue
            if block.is_closure_load(instruction):
                continue
            after = code[n + 1] if n + 1 < len(code) else instruction
            if after.op not in _OF_OBJECT and not _is_copied_for_update(code, n + 1):
                return True
    return False


def _is_copied_for_update(code: list[Instruction], n: int) -> bool:
    ops = [(i.op, i.arg) for i in code[n : n + 1]]
    return ops == [("COPY", 1)] and n + 1 < len(code) and code[n + 1].op == "LOAD_ATTR"
