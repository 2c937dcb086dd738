"""Waiting for a condition, with a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    """Ask again until the condition holds."""
    with anyio.fail_after(within_s):
        while not await condition():  # noqa: ASYNC110  # the condition is in the server
            await anyio.sleep(0.005)
