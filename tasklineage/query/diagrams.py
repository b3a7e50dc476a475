"""A lineage in the languages of Mermaid and Graphviz.

Both are text for other programs, and names may hold anything: quotes, newlines, markup. In Mermaid
whatever is not a letter, a digit or harmless is written as the code of the character; in DOT
strings are quoted.

References: https://mermaid.js.org/syntax/flowchart.html, https://graphviz.org/doc/info/lang.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasklineage.query.boxes import Arrow, Box, drawing

if TYPE_CHECKING:
    from tasklineage.query.lineage import Lineage

MOST = 200
"""Nodes that are written one by one: Mermaid refuses graphs of more than 500 edges."""
_HARMLESS = frozenset(" _.,=:+-…")
_MERMAID_LINES = {"data": "-->", "changed": "==>", "hit": "-.->", "child": "-.->"}
_WORDS = {"changed": "changed in place", "hit": "hit", "child": "child"}
_CLASSES = {"call": "executed", "hit": "hit", "failed": "failed", "value": "value"}
"""Names of the kinds of boxes; `call` is a word of Mermaid's."""
_DOT_STYLES = {"data": "solid", "changed": "bold", "hit": "dashed", "child": "dotted"}
_DOT_COLOURS = {"call": "#4c72b0", "hit": "#3a9188", "failed": "#b03a3a", "value": "#8c7430"}


def mermaid(lineage: Lineage, most: int | None = MOST) -> str:
    """A flowchart; calls of one task are one box where there are more than `most` nodes."""
    shown = drawing(lineage, most)
    names = [f"n{i}" for i in range(len(shown.boxes))]
    lines = ["flowchart LR"]
    for name, box in zip(names, shown.boxes, strict=True):
        label = "<br/>".join(_mermaid_text(line) for line in box.lines if line)
        left, right = ("([", "])") if box.kind == "value" else ("[", "]")
        lines.append(f'    {name}{left}"{label}"{right}:::{_CLASSES[box.kind]}')
    for arrow in shown.arrows:
        label = _mermaid_text(_label(arrow))
        middle = f'|"{label}"|' if label else ""
        line = _MERMAID_LINES[arrow.kind]
        lines.append(f"    {names[arrow.source]} {line}{middle} {names[arrow.target]}")
    if shown.is_cut:
        lines.append("    %% there is more: this was cut")
    lines += [
        f"    classDef {_CLASSES[kind]} stroke:{colour},stroke-width:2px"
        for kind, colour in _DOT_COLOURS.items()
    ]
    return "\n".join(lines) + "\n"


def dot(lineage: Lineage, most: int | None = MOST) -> str:
    """A digraph; calls of one task are one box where there are more than `most` nodes."""
    shown = drawing(lineage, most)
    lines = ["digraph lineage {", "    rankdir=LR;", '    node [fontname="sans-serif"];']
    lines += [f"    {_dot_name(box)} [{_dot_attributes(box)}];" for box in shown.boxes]
    for arrow in shown.arrows:
        ends = f"{_dot_name(shown.boxes[arrow.source])} -> {_dot_name(shown.boxes[arrow.target])}"
        style = _DOT_STYLES[arrow.kind]
        lines.append(f"    {ends} [label={_dot_text(_label(arrow))}, style={style}];")
    if shown.is_cut:
        lines.append("    // there is more: this was cut")
    return "\n".join([*lines, "}"]) + "\n"


def _label(arrow: Arrow) -> str:
    return ": ".join(filter(None, (_WORDS.get(arrow.kind, ""), arrow.label)))


def _mermaid_text(text: str) -> str:
    return "".join(c if c.isalnum() or c in _HARMLESS else f"#{ord(c)};" for c in _printable(text))


def _dot_name(box: Box) -> str:
    return f'"{box.id}"'


def _dot_attributes(box: Box) -> str:
    label = "\n".join(line for line in box.lines if line)
    shape = "ellipse" if box.kind == "value" else "box"
    colour = _DOT_COLOURS[box.kind]
    return (
        f"label={_dot_text(label)}, tooltip={_dot_text(box.tooltip)}, shape={shape}, "
        f'color="{colour}"'
    )


def _dot_text(text: str) -> str:
    escaped = _printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _printable(text: str) -> str:
    """The text without lone surrogates, which no file of text can hold."""
    return text.encode("utf-8", "backslashreplace").decode()
