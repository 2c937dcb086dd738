"""The store behind its one worker thread, so that a slow disk never stalls the loop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class StoreThread:
    """
    Runs the store's calls one at a time in a worker thread.

    A call that has begun is finished even if its caller is cancelled: transactions stay whole.
    """

    def __init__(self) -> None:
        self._one = anyio.CapacityLimiter(1)

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one call and return its result. An exception of the call is raised to the caller."""
        work: partial[Any] = partial(call, *args, **kwargs)
        result: T = await anyio.to_thread.run_sync(work, limiter=self._one)
        return result
