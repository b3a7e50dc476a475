"""Whether anything is secret in this process: asked at every call, so it stands alone."""

from __future__ import annotations

import os
from typing import Any, ClassVar

_OF_PROCESS = os.urandom(32)


class Hidden:
    """What `redaction` and `secrets` are needed for; where it is false, they are not imported."""

    in_use: ClassVar[bool] = False
    """Whether there was any Secret. HOT."""
    key: ClassVar[Any] = lambda: _OF_PROCESS
    """A `Callable[[], bytes]`: the key under which Secrets that count are digested, that of the
    store in use."""
