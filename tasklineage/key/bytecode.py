"""The normal form of a function's bytecode: what of it can change a result, and nothing else.

Comments, docstrings, formatting, line numbers, file names, annotations of functions, the names of
plain locals and the name of the function itself are not in it. Parameters, names of globals and
attributes, constants with their types, the order of operations, jumps and exception handlers are,
and so is every nested code object (comprehensions, lambdas, inner functions and classes), in full.

Works on the code that runs, so it needs no source. Bytecode differs between minor versions of
Python, and so does its normal form; what is dropped is the same in all of them:

    NOP CACHE RESUME PRECALL EXTENDED_ARG      bookkeeping of the interpreter
    MAKE_CELL COPY_FREE_VARS LOAD_CLOSURE      follow from which variables are shared
    jumps to the next instruction              remnants of formatting
    __module__ __qualname__ __doc__ ...        what a nested class body notes about its place
"""

from __future__ import annotations

import opcode
import re
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

from tasklineage.key.jumps import straightened
from tasklineage.key.stack import Instruction, expression_start

# Jumps forward and backward go by one name: which it is follows from the layout.
_NAMES = [
    name
    if name == "JUMP_BACKWARD_NO_INTERRUPT"
    else name.replace("JUMP_FORWARD", "JUMP").replace("JUMP_BACKWARD", "JUMP")
    for name in opcode.opname
]
_EXTENDED_ARG = opcode.opmap["EXTENDED_ARG"]
_CACHE = opcode.opmap["CACHE"]
_JUMPS = frozenset(opcode.hasjrel)
_BACKWARD = frozenset(op for op in _JUMPS if "BACKWARD" in opcode.opname[op])
_DROPPED = frozenset(
    opcode.opmap[name]
    for name in ("NOP", "CACHE", "RESUME", "PRECALL", "MAKE_CELL", "COPY_FREE_VARS")
    if name in opcode.opmap
)
_CONST = frozenset(_NAMES[op] for op in opcode.hasconst)
_NAME = frozenset(_NAMES[op] for op in opcode.hasname)
_VARIABLE = frozenset(_NAMES[op] for op in (*opcode.haslocal, *opcode.hasfree)) | {
    "LOAD_CLASSDEREF"
}
_FREE = frozenset(_NAMES[op] for op in opcode.hasfree) | {"LOAD_CLASSDEREF"}
_PAIRS = {
    opcode.opmap[name]: tuple(re.findall("[A-Z]+_FAST", name))
    for name in ("LOAD_FAST_LOAD_FAST", "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST")
    if name in opcode.opmap
}

# How far the index of a name is shifted to make room for flags.
_NAME_SHIFT = {"LOAD_GLOBAL": 1, "LOAD_SUPER_ATTR": 2}
HAS_METHOD_FLAG = sys.version_info >= (3, 12)
if HAS_METHOD_FLAG:
    _NAME_SHIFT["LOAD_ATTR"] = 1

_FUNCTION_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
"""`*args`, `**kwargs`, generator, coroutine, iterable coroutine, asynchronous generator."""
_ANNOTATIONS = 0x04
_CLOSURE = 0x08
_IS_FLAGGED_LATER = _CLOSES_BY_LOAD_FAST = sys.version_info >= (3, 13)
_PLACES = frozenset(
    {"__module__", "__qualname__", "__doc__", "__firstlineno__", "__static_attributes__"}
)

Variable = tuple[str, str]
"""Where a variable lives and its name; two scopes share it where a closure does."""


class Block:
    """One code object of a function: the function's own, or one nested in it."""

    __slots__ = ("code", "instructions", "nested", "shared", "slots", "variables")

    def __init__(self, code: CodeType, parent: Block | None, label: str) -> None:
        self.code = code
        locals_, cells, free = code.co_varnames, code.co_cellvars, code.co_freevars
        own = {name: (label, name) for name in (*locals_, *cells)}
        outer = {name: parent.variables[name] if parent else ("", name) for name in free}
        self.variables: dict[str, Variable] = own | outer
        """By name; what a nested function shares with this one is the same there."""
        self.slots = [*own.values(), *outer.values()]
        """By the index that instructions use."""
        self.shared = frozenset((*cells, *free))
        self.instructions = _without_places(code, _without_annotations(_decode(code)))
        self.nested: list[Block] = []
        for instruction in self.instructions:
            if instruction.op in _CONST:
                constant = code.co_consts[instruction.arg]
                if isinstance(constant, CodeType):
                    self.nested.append(Block(constant, self, f"{label}.{len(self.nested)}"))

    def blocks(self) -> Iterator[Block]:
        """The block and all that are nested in it, outer ones first."""
        yield self
        for block in self.nested:
            yield from block.blocks()

    def operand(self, instruction: Instruction) -> Variable | None:
        """The variable that an instruction reads or writes, if it does."""
        return self.slots[instruction.arg] if instruction.op in _VARIABLE else None

    def name(self, instruction: Instruction) -> str:
        """The name of a global or attribute that an instruction uses; empty for others."""
        if instruction.op not in _NAME:
            return ""
        return self.code.co_names[instruction.arg >> _NAME_SHIFT.get(instruction.op, 0)]

    def is_closure_load(self, instruction: Instruction) -> bool:
        """Whether it hands a variable to a nested function rather than reading it."""
        if instruction.op == "LOAD_CLOSURE":
            return True
        if not _CLOSES_BY_LOAD_FAST or instruction.op != "LOAD_FAST":
            return False
        return self.slots[instruction.arg][1] in self.shared

    def parameters(self) -> tuple[str, ...]:
        """Names of all parameters, `*args` and `**kwargs` included."""
        code = self.code
        count = code.co_argcount + code.co_kwonlyargcount
        count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
        return code.co_varnames[:count]


def normal_text(root: Block, *, with_locals: bool = False) -> str:
    """The normal form as text, one instruction a line.

    `with_locals` adds the names of locals and cells, for bodies that can read them.
    """
    numbers: dict[Variable, int] = {}
    lines: list[str] = []
    _write(root, numbers, lines)
    if with_locals:
        lines.extend(repr(sorted(block.variables)) for block in root.blocks())
    return "\n".join(lines)


def constant_text(value: Any) -> str:
    """A constant of a code object as text that tells types apart; frozensets have no order."""
    kind = type(value)
    if kind is str or kind is bytes or value is None or kind is bool:
        return repr(value)
    if kind is int:
        return hex(value)
    if kind is float:
        return float.hex(value)
    if kind is complex:
        return f"complex({value.real.hex()},{value.imag.hex()})"
    if kind is tuple:
        return f"({','.join(map(constant_text, value))})"
    if kind is frozenset:
        return f"{{{','.join(sorted(map(constant_text, value)))}}}"
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _write(block: Block, numbers: dict[Variable, int], lines: list[str]) -> None:
    code = block.code
    lines.append(
        f"{{ {code.co_posonlyargcount} {code.co_argcount} {code.co_kwonlyargcount} "
        f"{code.co_flags & _FUNCTION_FLAGS} {' '.join(block.parameters())}"
    )
    slots, names, constants = block.slots, code.co_names, code.co_consts
    for variable in slots[: len(block.parameters())]:
        numbers.setdefault(variable, len(numbers))
    plain = block.instructions
    if block.shared:
        plain = [i for i in plain if not block.is_closure_load(i)]
    instructions, targets, handlers = straightened(
        plain, list(_exception_table(code.co_exceptiontable))
    )
    nested = iter(block.nested)
    for n, instruction in enumerate(instructions):
        op, arg = instruction.op, instruction.arg
        if op in _CONST:
            constant = constants[arg]
            if isinstance(constant, CodeType):
                lines.append(op)
                _write(next(nested), numbers, lines)
            else:
                lines.append(f"{op} {constant_text(constant)}")
        elif op in _VARIABLE:
            lines.append(f"{op} v{numbers.setdefault(slots[arg], len(numbers))}")
        elif op in _NAME:
            shift = _NAME_SHIFT.get(op, 0)
            lines.append(f"{op} {names[arg >> shift]} {arg & ((1 << shift) - 1)}")
        elif n in targets:
            lines.append(f"{op} @{targets[n]}")
        else:
            lines.append(f"{op} {arg}")
    lines.extend(f"try {handler}" for handler in handlers)
    lines.append("}")


def _exception_table(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(start, end, target, depth and flag) of each entry, in bytes.

    The format: Objects/exception_handling_notes.txt of CPython 3.11.
    """
    data = iter(table)

    def number(first: int) -> int:
        value = first & 63
        while first & 64:
            first = next(data)
            value = value << 6 | first & 63
        return value

    for byte in data:
        start = number(byte) * 2
        length, target, flags = (number(next(data)) for _ in range(3))
        yield start, start + length * 2, target * 2, flags


def _decode(code: CodeType) -> list[Instruction]:
    """The instructions that count, in order.

    `dis.get_instructions` gives the same and takes ten times as long.
    """
    raw = code.co_code
    found: list[Instruction] = []
    position, size, extended, start = 0, len(raw), 0, 0
    while position < size:
        op, arg = raw[position], raw[position + 1] | extended
        position += 2
        if op == _EXTENDED_ARG:
            extended = arg << 8
            continue
        while position < size and raw[position] == _CACHE:
            position += 2
        if op in _JUMPS:
            target = position + (-2 if op in _BACKWARD else 2) * arg
            found.append(Instruction(_NAMES[op], arg, start, target))
        elif op in _PAIRS:
            first, second = _PAIRS[op]
            found.append(Instruction(first, arg >> 4, start))
            found.append(Instruction(second, arg & 15, start + 1))
        elif op not in _DROPPED:
            found.append(Instruction(_NAMES[op], arg, start))
        extended, start = 0, position
    return found


def _without_places(code: CodeType, instructions: list[Instruction]) -> list[Instruction]:
    """Without what a class body writes down about where it stands."""
    if "__module__" not in code.co_names:
        return instructions
    gone: set[int] = set()
    for n, instruction in enumerate(instructions):
        is_place = instruction.op == "STORE_NAME" and code.co_names[instruction.arg] in _PLACES
        if is_place and instructions[n - 1].op in ("LOAD_CONST", "LOAD_NAME"):
            gone |= {n - 1, n}
    return [i for n, i in enumerate(instructions) if n not in gone]


def _without_annotations(instructions: list[Instruction]) -> list[Instruction]:
    """Without the code that annotates inner functions.

    MAKE_FUNCTION finds on the stack, from below: defaults, keyword defaults, annotations, the
    closure, the code object; each but the last only where flagged.
    """
    makers = [n for n, i in enumerate(instructions) if i.op == "MAKE_FUNCTION"]
    for n in reversed(makers):
        if n < len(instructions) and instructions[n].op == "MAKE_FUNCTION":
            instructions = _without_annotations_at(instructions, n)
    return instructions


def _without_annotations_at(instructions: list[Instruction], made: int) -> list[Instruction]:
    flags, attributes = instructions[made].arg, 0
    if _IS_FLAGGED_LATER:
        flags, attributes = _later_flags(instructions, made)
    if not flags & _ANNOTATIONS:
        return instructions
    last: int | None = made - 2
    if flags & _CLOSURE:
        start = expression_start(instructions, made - 2)
        last = None if start is None else start - 1
    first = None if last is None else expression_start(instructions, last)
    if first is None or last is None:
        return instructions
    made_after = instructions[made : made + 1 + attributes]
    plain = [
        i._replace(arg=i.arg & ~_ANNOTATIONS) if i.op == "MAKE_FUNCTION" else i
        for i in made_after
        if not (i.op == "SET_FUNCTION_ATTRIBUTE" and i.arg == _ANNOTATIONS)
    ]
    rest = instructions[made + 1 + attributes :]
    return [*instructions[:first], *instructions[last + 1 : made], *plain, *rest]


def _later_flags(instructions: list[Instruction], made: int) -> tuple[int, int]:
    """What the SET_FUNCTION_ATTRIBUTEs after a MAKE_FUNCTION add, and how many they are."""
    flags, n = 0, made + 1
    while n < len(instructions) and instructions[n].op == "SET_FUNCTION_ATTRIBUTE":
        flags |= instructions[n].arg
        n += 1
    return flags, n - made - 1
