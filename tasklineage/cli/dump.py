"""The command that hands out a stored value: `dump`."""

from __future__ import annotations

import io
import json as json_module
import pickle
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from tasklineage.cli import output
from tasklineage.cli.failures import guarded
from tasklineage.cli.reading import IdArgument, JsonOption, StoreOption, opened
from tasklineage.errors import ConfigError, NotFound, UnsafeFormat
from tasklineage.key.files import File
from tasklineage.query import find
from tasklineage.query.artifacts import Artifact
from tasklineage.query.calls import Call
from tasklineage.query.runs import Run
from tasklineage.storage.codecs import Undecodable

_SHOWN = frozenset(
    {
        "NoneType", "bool", "int", "float", "complex", "str", "bytes", "bytearray", "list", "tuple",
        "dict", "set", "frozenset", "numpy.ndarray",
    }
)  # fmt: skip
"""Types that are decoded to be shown; of others the preview made when they were stored is."""
_OPAQUE = object()
_MOST_WRITTEN, _DEEPEST = 5_000_000, 500
"""Elements of a value that is written out, and how deep they may be."""
_FORMS = frozenset({"png", "svg"})
"""Pictures that may be stored with a value."""


@guarded
def dump(
    id: IdArgument,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="write the value to this file")
    ] = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Print the result of a run or call, or the value of an artifact.

    Text is printed as it is, what JSON can say as JSON, anything else as a preview. --output writes
    bytes, text and files as they are, figures as .png or .svg, arrays as .npy, what JSON can say as
    JSON, and anything to a name that ends in .pkl or .pickle.
    """
    here = opened(store, allow_pickle=file is not None)  # whoever takes the value out wants it
    artifact = artifact_of(find.get(id, store=here))
    if file is not None:
        form = file.suffix[1:].lower()
        picture = artifact.picture(form) if form in _FORMS else None
        file.write_bytes(content(artifact.value, file) if picture is None else picture)
    elif json:
        output.print_json(id=id, **_described(artifact))
    else:
        _print(artifact)


def artifact_of(item: Run | Call | Artifact) -> Artifact:
    """What of an item is dumped: the value itself, or a result.

    Raises
    ------
    NotFound
        The run or call has no result.
    """
    if isinstance(item, Artifact):
        return item
    call = item.last_success if isinstance(item, Run) else item
    found = call.output
    if found is None:
        raise NotFound(f"call {call.id} of {call.task} is {call.status}: it has no result")
    return found


def content(value: Any, file: Path) -> bytes:
    """The bytes that `--output` writes.

    Raises
    ------
    ConfigError
        The value has no form of its own outside Python.
    """
    if file.suffix in (".pkl", ".pickle"):
        return pickle.dumps(value, protocol=5)
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, File):
        return value.bytes()
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if output.is_json_like(value):
        return _json(value).encode()
    if _is_plain_array(value):
        return _npy(value)
    raise ConfigError(
        f"a {type(value).__qualname__} has no form outside Python: give a name that ends in .pkl, "
        "or take it in Python from tl.get(ID)"
    )


def _print(artifact: Artifact) -> None:
    value = decoded(artifact)
    if isinstance(value, str):
        print(value, end="" if value.endswith("\n") else "\n")
    elif isinstance(value, bytes | bytearray) and not sys.stdout.isatty():
        sys.stdout.buffer.write(value)
    elif output.is_json_like(value):
        print(_json(value))
    else:
        print(artifact.preview if value is _OPAQUE else repr(value))


def decoded(artifact: Artifact) -> Any:
    """The value, if nothing but Python and numpy are needed to show it; else `_OPAQUE`."""
    if artifact.type not in _SHOWN:
        return _OPAQUE
    try:
        value = artifact.value
    except (Undecodable, UnsafeFormat):
        return _OPAQUE
    return value if _can_be_written_out(value) else _OPAQUE


def _can_be_written_out(value: Any) -> bool:
    """Whether it has no more than some million elements, each counted as often as it is reached.

    Containers that hold each other twice are small to store, and endless to write out.
    """
    pending, left = [iter((value,))], _MOST_WRITTEN
    while pending and left > 0 and len(pending) < _DEEPEST:
        for item in pending[-1]:
            left -= 1
            if type(item) is dict:
                pending.append(chain(item, item.values()))
                break
            if type(item) in (list, tuple, set, frozenset):
                pending.append(iter(item))
                break
        else:
            pending.pop()
    return not pending


def _described(artifact: Artifact) -> output.Json:
    found, value = output.artifact_json(artifact), decoded(artifact)
    return found | {"value": value} if output.is_json_like(value) else found


def _json(value: Any) -> str:
    return json_module.dumps(value, ensure_ascii=False, indent=2)


def _is_plain_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")  # an array can only be there if numpy is
    return numpy is not None and isinstance(value, numpy.ndarray) and not value.dtype.hasobject


def _npy(array: Any) -> bytes:
    import numpy as np

    written = io.BytesIO()
    np.save(written, array, allow_pickle=False)
    return written.getvalue()
