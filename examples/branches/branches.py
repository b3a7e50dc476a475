"""Two branches change a copy of the same state, and a join merges what they have made.

    python examples/branches/branches.py

Both branches set `title`, to different texts. That is a conflict: `merge` refuses to choose, and
says which name it is about. The second join leaves the name out of the merge and decides itself.
"""

from __future__ import annotations

from typing import Any

import tasklineage as tl
from tasklineage import task

State = dict[str, Any]

POEM = """\
Tyger Tyger, burning bright,
In the forests of the night;
What immortal hand or eye,
Could frame thy fearful symmetry?
"""


@task
def start(text: str) -> State:
    """What both branches begin with."""
    return {"text": text, "title": "The Tyger"}


@task
def count_words(state: State) -> State:
    """The state, with the number of its words."""
    words = len(state["text"].split())
    return {**state, "words": words, "title": f"{state['title']}, {words} words"}


@task
def count_lines(state: State) -> State:
    """The state, with the number of its lines."""
    lines = len(state["text"].splitlines())
    return {**state, "lines": lines, "title": f"{state['title']}, {lines} lines"}


@task
def merge_all(inputs: tl.Inputs) -> State:
    """Everything that the branches agree on; but they do not agree on the title."""
    return tl.merge(inputs)


@task
def merge_titled(inputs: tl.Inputs) -> State:
    """The same, and a title that says what both have counted."""
    lines, words = inputs.lines["lines"], inputs.words["words"]
    return tl.merge(inputs, title=f"The Tyger, {words} words in {lines} lines")


def main() -> None:
    """Merge with a conflict, and without."""
    with tl.run("branches") as run:
        state = start(POEM)
        branches = {"words": count_words.bind(state), "lines": count_lines.bind(state)}
        try:
            tl.join(merge_all, branches)
        except tl.MergeConflict as conflict:
            print(f"conflict: {conflict}")
        merged = tl.join(merge_titled, branches)
    print(merged["title"])
    print(f"executed {run.executed}, hits {run.hits}")


if __name__ == "__main__":
    main()
