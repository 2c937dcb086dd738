from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.pipeline.audit.world import World, world_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(tmp_path) as made:
        yield made
