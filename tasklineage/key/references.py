"""What the body of a function refers to outside itself, read from its bytecode."""

from __future__ import annotations

from importlib.util import resolve_name
from types import CodeType
from typing import ClassVar, NamedTuple

from xxhash import xxh3_128_digest

from tasklineage.key.attribute_uses import Uses, uses_of
from tasklineage.key.bytecode import HAS_METHOD_FLAG, Block, Variable, normal_text
from tasklineage.key.stack import Instruction, consumer, expression_start

READ, STORE, CALLED_SINK, COUNTER = "read", "store", "called", "counter"
ITEM_SINK, UPDATED_SINK, NESTED_SINK = "item", "updated", "nested"

_GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_VARIABLE_LOADS = frozenset(
    {
        "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF",
    }
)  # fmt: skip
_STORES = frozenset({"STORE_FAST", "STORE_DEREF", "STORE_GLOBAL", "STORE_NAME"})
_ATTRIBUTE_LOADS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_LOADS = _ATTRIBUTE_LOADS | _GLOBAL_LOADS
_CALLS = frozenset({"CALL", "CALL_KW"})
_MUTATORS = frozenset(
    {
        "append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault",
        "clear", "discard", "put", "put_nowait", "set",
    }
)  # fmt: skip

_READS_LOCALS = frozenset({"locals", "vars", "dir", "eval", "exec"})
_READS_FRAMES = frozenset({"_getframe", "currentframe", "_current_frames"})
_RUNS_CODE = frozenset(
    {"run_path", "run_module", "exec_module", "load_module", "entry_points", "iter_entry_points"}
)
"""Functions that execute modules which no import names."""
_OF_PLACE = frozenset({"__name__", "__qualname__", "__doc__", "__annotations__"})
_SPECIAL = {
    "__name__": "names", "__qualname__": "names", "__doc__": "docs", "getdoc": "docs",
    "__annotations__": "annotations", "get_type_hints": "annotations",
    "signature": "annotations", "get_annotations": "annotations",
    "getfullargspec": "annotations",
    "__subclasses__": "subclasses",
    **dict.fromkeys(("getsource", "getsourcelines", "getcomments", "findsource"), "source"),
    **dict.fromkeys(_READS_FRAMES, "frames"),
}  # fmt: skip


class Reference(NamedTuple):
    """A name and the attributes taken of it, as far as the code spells them out."""

    kind: str
    """`global`, `cell`, `import` for a module imported in the body, or `loaded` for one that is
    looked up in `sys.modules`."""
    name: str
    """The name; of a module as in the import statement, leading dots included."""
    chain: tuple[str, ...]
    use: str = READ
    """`read`, or how it is only written to. What is called or assigned ends the chain."""


class Facts(NamedTuple):
    """What a code object alone says, whatever its names are bound to."""

    digest: bytes
    """Of the normal form."""
    locals_digest: bytes
    """Of the names of locals and cells, everywhere in it."""
    references: tuple[Reference, ...]
    imports: tuple[str, ...]
    """Modules imported in the body, leading dots included."""
    stored: frozenset[str]
    """Globals, cells and names of class bodies that it binds."""
    reads: frozenset[str]
    """What it reads of unknown functions and classes.

    Some of `names docs annotations subclasses source frames`.
    """
    unresolved: tuple[str, ...]
    """References whose target only shows when it runs."""
    nested: frozenset[str]
    """Qualified names of the functions and scopes inside it."""
    computed: frozenset[str]
    """How the names of modules begin that it imports under computed names; empty: anyhow."""
    passed: frozenset[Reference]
    """Those of the references that are used otherwise than by attributes and calls."""
    uses: Uses


class _Cache:
    """Facts by the identity of a code object, which is kept alive with them."""

    LIMIT = 20_000
    facts: ClassVar[dict[int, tuple[CodeType, Facts]]] = {}


def body_digest(code: CodeType) -> bytes:
    """As in the facts of a code object, which is not kept."""
    return _read(code).digest


def facts_of(code: CodeType) -> Facts:
    """The facts of a code object, read once."""
    known = _Cache.facts.get(id(code))
    if known is not None:
        return known[1]
    facts = _read(code)
    if len(_Cache.facts) >= _Cache.LIMIT:
        _Cache.facts.clear()
    _Cache.facts[id(code)] = code, facts
    return facts


def _read(code: CodeType) -> Facts:
    root = Block(code, None, "f")
    scan = _Scan(root)
    locals_ = repr([sorted(block.variables) for block in root.blocks()])
    text = normal_text(root, with_locals=scan.reads_locals)
    return Facts(
        xxh3_128_digest(text.encode("utf-8", "surrogatepass")),
        xxh3_128_digest(locals_.encode("utf-8", "surrogatepass")),
        tuple(scan.references),
        tuple(scan.imports),
        frozenset(scan.stored),
        frozenset(scan.reads),
        tuple(scan.unresolved),
        frozenset(b.code.co_qualname for b in root.blocks() if b is not root),
        frozenset(scan.computed),
        frozenset(scan.passed),
        uses_of(root),
    )


class _Scan:
    """One pass over a function for what it imports, and one for what it refers to."""

    def __init__(self, root: Block) -> None:
        self.references: dict[Reference, None] = {}
        self.imports: dict[str, None] = {}
        self.stored: set[str] = set()
        self.reads: set[str] = set()
        self.reads_locals = False
        self.unresolved: dict[str, None] = {}
        self.computed: set[str] = set()
        self.passed: set[Reference] = set()
        self.imported: dict[Variable, dict[Reference, None]] = {}
        blocks = list(root.blocks())
        for block in blocks:
            self._find_imports(block)
        for block in blocks:
            self._find_references(block)
        self._add_silent_cells(root)

    def _find_imports(self, block: Block) -> None:
        instructions = block.instructions
        for n, instruction in enumerate(instructions):
            if instruction.op == "IMPORT_NAME":
                level, names = (_constant(block, instructions[n - back]) for back in (2, 1))
                dots = "." * level if isinstance(level, int) else ""
                module = dots + block.name(instruction)
                self.imports[module] = None
                self._bind_import(block, n, module, bool(names))
            elif instruction.op in _LOADS and block.name(instruction) == "import_module":
                module, end = _imported_by_name(block, _first_load(block, n + 1))
                if module and instructions[end].op in _STORES:
                    self._bind(block, instructions[end], module, ())

    def _bind_import(self, block: Block, n: int, module: str, has_names: bool) -> None:
        """Note which variables the import statement at `n` binds, and to what."""
        following = block.instructions[n + 1 :]
        if has_names:
            for source, store in zip(following[::2], following[1::2], strict=False):
                if source.op != "IMPORT_FROM":
                    return
                self._bind(block, store, module, (block.name(source),))
        elif following and following[0].op == "IMPORT_FROM":  # import a.b as c
            stores = (i for i in following if i.op in _STORES)
            self._bind(block, next(stores), module, ())
        elif following:
            self._bind(block, following[0], module.partition(".")[0], ())

    def _bind(self, block: Block, store: Instruction, module: str, chain: tuple[str, ...]) -> None:
        target = Reference("import", module, chain)
        if store.op == "STORE_NAME":
            self.references[target] = None
            return
        variable = block.operand(store) or ("global", block.name(store))
        self.imported.setdefault(variable, {})[target] = None

    def _find_references(self, block: Block) -> None:
        taken: set[int] = set()
        for n, instruction in enumerate(block.instructions):
            op = instruction.op
            if op in _GLOBAL_LOADS:
                self._refer(block, n, ("global", block.name(instruction)), taken)
            elif op in _VARIABLE_LOADS and not block.is_closure_load(instruction):
                variable = block.operand(instruction)
                if variable is not None and (variable[0] == "" or variable in self.imported):
                    self._refer(block, n, variable, taken)
            elif op in _ATTRIBUTE_LOADS and n not in taken:
                self._note_special(block, n)
            elif op in ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_NAME"):
                self.stored.add(block.name(instruction))
            elif op in ("STORE_DEREF", "DELETE_DEREF"):
                variable = block.operand(instruction)
                if variable is not None and variable[0] == "":
                    self.stored.add(variable[1])

    def _refer(self, block: Block, n: int, variable: Variable, taken: set[int]) -> None:
        chain, end = _chain(block, n)
        taken.update(range(n + 1, end))
        kind, name = ("global" if variable[0] == "global" else "cell"), variable[1]
        chain, use = _use(block, end, chain, variable)
        called = _called_with(block, n)
        if called in ("getattr", "hasattr", "setattr", "delattr"):
            attribute = _constant(block, block.instructions[end])
            if isinstance(attribute, str):
                chain, use = (*chain, attribute), READ if called[0] in "gh" else STORE
        self._note_use(block, n, end, (name, *chain))
        found = [Reference(kind, name, chain, use)]
        if variable in self.imported:
            targets = self.imported[variable]
            found = [t._replace(chain=t.chain + chain, use=use) for t in targets]
        self.references |= dict.fromkeys(found)
        if not _is_called(block.instructions, n, end):
            self.passed.update(found)

    def _add(self, reference: Reference) -> None:
        self.references[reference] = None

    def _note_use(self, block: Block, n: int, end: int, path: tuple[str, ...]) -> None:
        """What the use of a builtin, or of a function that looks at code, says about the body."""
        last = path[-1]
        if path[0] in _READS_LOCALS and len(path) == 1:
            self.reads_locals = True
        if last in ("import_module", "__import__"):
            self._note_import(last, block, end)
        if last in _RUNS_CODE:
            self.computed.add("")
        is_special = last in _SPECIAL and last not in _OF_PLACE
        if is_special or path[-2:] == ("inspect", "stack"):
            self.reads.add(_SPECIAL.get(last, "frames"))
        if path[:2] == ("sys", "modules"):
            self._note_modules(block, end)
        if path == ("getattr",) and _is_dynamic_getattr(block, n):
            self.unresolved["getattr with a computed name"] = None

    def _note_import(self, name: str, block: Block, at: int) -> None:
        """What is imported by a function that is called with what is loaded from `at` on."""
        at = _first_load(block, at)
        module, end = _imported_by_name(block, at)
        if module:
            self.imports[module] = None
            is_plain = name == "import_module" or "." not in module  # else it gives the package
            chain, end = _chain(block, end - 1) if is_plain else ((), end)
            is_bound = name == "import_module" and block.instructions[end].op in _STORES
            if chain or not is_bound:
                self.references[Reference("import", module, chain)] = None
            return
        text, op = _first_argument(block, at)
        is_prefix = op in ("BUILD_STRING", "BINARY_OP") and not text.startswith(".")
        self.computed.add(text if is_prefix else "")
        self.unresolved[f"{name} of a computed name"] = None

    def _note_modules(self, block: Block, at: int) -> None:
        """A look into `sys.modules`: at its own module, at one that is named, or at any."""
        key, is_item = block.instructions[at], block.instructions[at + 1].op == "BINARY_SUBSCR"
        text = _constant(block, key)
        if is_item and isinstance(text, str):
            self._add(Reference("loaded", text, _chain(block, at + 1)[0]))
            return
        self._add(Reference("global", "globals", ()))  # the own one counts in either case
        if block.name(key) != "__name__" or not is_item:
            self.computed.add("")
            self.unresolved["a look into sys.modules"] = None

    def _note_special(self, block: Block, n: int) -> None:
        name = block.name(block.instructions[n])
        kind = _SPECIAL.get(name)
        if name in _RUNS_CODE:
            self.computed.add("")
        if kind == "names" and _is_of_class(block, n):
            return
        if kind is not None:
            self.reads.add(kind)

    def _add_silent_cells(self, root: Block) -> None:
        """Cells that are used without a load, as `__class__` is by `super()`."""
        seen = {r.name for r in self.references if r.kind == "cell"} | self.stored
        for name in root.code.co_freevars:
            if name not in seen and ("", name) not in self.imported:
                self.references[Reference("cell", name, ())] = None


def _imported_by_name(block: Block, at: int) -> tuple[str, int]:
    """The module that a call imports whose first argument is loaded at `at`, and where it ends.

    The module is empty where its name is computed.
    """
    text, op = _first_argument(block, at)
    used = consumer(block.instructions, at + 1, 1) if op in _CALLS else None
    if used is None:
        return "", at
    module = _absolute(text, block, at + 1) if text.startswith(".") else text
    return module, used.place + 1


def _first_load(block: Block, at: int) -> int:
    """Where the first argument of what is called at `at` is loaded."""
    return at + (block.instructions[at].op == "PUSH_NULL")  # from Python 3.13 on


def _first_argument(block: Block, at: int) -> tuple[str, str]:
    """The text that is loaded at `at` and the operation that uses it; empty if it is no text."""
    text = _constant(block, block.instructions[at])
    if not isinstance(text, str):
        return "", ""
    used = consumer(block.instructions, at + 1, 1)
    return text, "" if used is None else block.instructions[used.place].op


def _absolute(text: str, block: Block, at: int) -> str:
    """The relative name of a module, made absolute by the package that is loaded at `at`.

    It stays relative to the own package, and is empty where the package is computed.
    """
    instruction = block.instructions[at]
    if block.name(instruction) in ("__package__", "__name__"):
        return text
    package = _constant(block, instruction)
    try:
        return resolve_name(text, package) if isinstance(package, str) else ""
    except ImportError:
        return ""


def _constant(block: Block, instruction: Instruction) -> object:
    """The constant that an instruction loads, else None."""
    if instruction.op != "LOAD_CONST":
        return None
    constant: object = block.code.co_consts[instruction.arg]
    return constant


def _chain(block: Block, n: int) -> tuple[tuple[str, ...], int]:
    """The attributes taken right after the load at `n`, and where that ends."""
    instructions, end = block.instructions, n + 1
    names: list[str] = []
    while end < len(instructions):
        is_updated = (
            instructions[end].op == "COPY"
            and end + 1 < len(instructions)
            and instructions[end + 1].op == "LOAD_ATTR"
        )
        if is_updated:
            end += 1
        elif instructions[end].op not in _ATTRIBUTE_LOADS:
            break
        names.append(block.name(instructions[end]))
        end += 1
    return tuple(names), end


def _use(
    block: Block, end: int, chain: tuple[str, ...], variable: Variable
) -> tuple[tuple[str, ...], str]:
    """How the value is used whose chain ends at `end`: `read`, unless it is only written to.

    For an attribute that is assigned, it is the last of the chain.
    """
    instructions = block.instructions
    if end < len(instructions) and instructions[end].op in ("STORE_ATTR", "DELETE_ATTR"):
        return (*chain, block.name(instructions[end])), STORE
    if _is_method_load(instructions[end - 1]):
        is_sink = chain[-1] in _MUTATORS and _is_dropped_call(instructions, end)
        return chain, CALLED_SINK if is_sink else READ
    is_called = instructions[end - 1].op == "LOAD_GLOBAL" and instructions[end - 1].arg & 1
    used = None if is_called else consumer(instructions, end, 1)
    if used is None:
        return chain, READ
    op = instructions[used.place].op
    if op == "STORE_SUBSCR" and used.height == (0 if used.is_updated else -1):
        return chain, UPDATED_SINK if used.is_updated else ITEM_SINK
    if op == "BINARY_SUBSCR" and used.height == 1 and _is_item_sink(block, used.place + 1):
        return chain, NESTED_SINK
    is_counter = not chain and op == "BINARY_OP" and _is_stored(block, used.place + 1, variable)
    return chain, COUNTER if is_counter else READ


def _is_item_sink(block: Block, n: int) -> bool:
    """Whether the container that was got before `n` is only written to."""
    instructions = block.instructions
    if n < len(instructions) and _is_method_load(instructions[n]):
        is_written = block.name(instructions[n]) in _MUTATORS
        return is_written and _is_dropped_call(instructions, n + 1)
    used = consumer(instructions, n, 1)
    return used is not None and instructions[used.place].op == "STORE_SUBSCR" and used.height == -1


def _is_method_load(instruction: Instruction) -> bool:
    if instruction.op == "LOAD_METHOD":
        return True
    return HAS_METHOD_FLAG and instruction.op == "LOAD_ATTR" and bool(instruction.arg & 1)


def _is_called(instructions: list[Instruction], n: int, end: int) -> bool:
    """Whether what was loaded from `n` to `end` is called."""
    last = instructions[end - 1]
    if _is_method_load(last) or (last.op == "LOAD_GLOBAL" and last.arg & 1):
        return True
    around = [i.op for i in (instructions[n - 1 : n] if n else []) + instructions[end : end + 1]]
    return "PUSH_NULL" in around


def _is_dropped_call(instructions: list[Instruction], start: int) -> bool:
    """Whether the method that was just loaded is called and its result thrown away."""
    used = consumer(instructions, start, 2)
    if used is None or used.height != 1 or instructions[used.place].op not in _CALLS:
        return False
    following = instructions[used.place + 1 : used.place + 2]
    return bool(following) and following[0].op == "POP_TOP"


def _is_stored(block: Block, n: int, variable: Variable) -> bool:
    """Whether the instruction at `n` stores into this variable."""
    if n >= len(block.instructions):
        return False
    store = block.instructions[n]
    if store.op == "STORE_GLOBAL":
        return variable == ("global", block.name(store))
    return store.op == "STORE_DEREF" and block.operand(store) == variable


def _called_with(block: Block, n: int) -> str:
    """The global function whose first argument the load at `n` is, as far as that is certain."""
    back = n - 1
    while back >= 0 and block.instructions[back].op == "PUSH_NULL":
        back -= 1
    if back < 0 or block.instructions[back].op != "LOAD_GLOBAL":
        return ""
    before = block.instructions[back]
    return block.name(before) if before.arg & 1 or back < n - 1 else ""


def _is_dynamic_getattr(block: Block, n: int) -> bool:
    """Whether `getattr` is called with a name that the code does not spell out.

    Where its first argument is a global, the whole of that counts anyway.
    """
    instructions = block.instructions
    used = consumer(instructions, n + 1, 2) if instructions[n].arg & 1 else None
    if used is None or instructions[used.place].op != "CALL":
        return False
    between = instructions[n + 1 : used.place]
    if between and between[0].op in _GLOBAL_LOADS:
        return False
    return not any(isinstance(_constant(block, i), str) for i in between)


def _is_of_class(block: Block, n: int) -> bool:
    """Whether the attribute at `n` is taken of `x.__class__` or `type(x)`: class names count."""
    before = block.instructions[n - 1]
    if before.op in _ATTRIBUTE_LOADS:
        return block.name(before) == "__class__"
    if before.op != "CALL":
        return False
    start = expression_start(block.instructions, n - 1)
    if start is None:
        return False
    return any(
        i.op == "LOAD_GLOBAL" and block.name(i) == "type"
        for i in block.instructions[start : start + 2]
    )
