"""The contract's fixture (section 15): clusters ``demo`` and ``star``, a manual tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slurmsyncd.sandbox.backend.clusters import join_cluster, make_cluster, make_sub_cluster
from slurmsyncd.sandbox.backend.server import BackendConfig, EmbeddedBackend
from tests.unit.sandbox.backend.client import Client, http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAIN = make_sub_cluster("main", "cn[001-100]", cores_per_socket=8)
GPU = make_sub_cluster("gpu", "gpu[01-04]", gpus_per_node=2)
STAR = make_cluster("star", "*")
STAR["subClusters"][0]["name"] = "all"
CLUSTERS = [join_cluster("demo", MAIN, GPU), STAR]


@pytest.fixture
async def backend() -> AsyncIterator[EmbeddedBackend]:
    config = BackendConfig(clusters=CLUSTERS, commit_interval=None, archive_queue=2, test_api=True)
    async with EmbeddedBackend.open(config) as running:
        yield running


@pytest.fixture
async def client(backend: EmbeddedBackend) -> AsyncIterator[Client]:
    async with http(backend.url) as connection:
        yield Client(connection, backend.token())
