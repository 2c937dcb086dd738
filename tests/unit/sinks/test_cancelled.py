"""A request that is cancelled while it connects keeps no connection."""

from __future__ import annotations

import gc
import socket

import anyio
import httpx
import pytest

#: More turns of the event loop than a connection takes.
TURNS = 40


@pytest.mark.anyio
async def test_h9_a_request_that_is_cancelled_at_any_turn_of_the_loop_leaves_no_socket() -> None:
    """An attempt whose deadline passes just as it has connected closes the connection: a lost one is a warning."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # connects, and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        for turns in range(TURNS):
            client = httpx.AsyncClient(trust_env=False, verify=False)
            async with client, anyio.create_task_group() as attempt:
                attempt.start_soon(client.get, url)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                attempt.cancel_scope.cancel()
            gc.collect()
