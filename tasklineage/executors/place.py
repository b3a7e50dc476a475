"""Where this process stands: the user's own, or a worker of another."""

from __future__ import annotations

from typing import ClassVar


class Here:
    """What is known of this process."""

    is_worker: ClassVar[bool] = False
