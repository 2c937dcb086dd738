"""Group A: who may call."""

# names carry the ids of the contract's cases
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.unit.sandbox.backend.client import J, refused

if TYPE_CHECKING:
    import httpx

    from slurmsyncd.sandbox.backend.server import EmbeddedBackend
    from tests.unit.sandbox.backend.client import Client

pytestmark = pytest.mark.anyio


async def start(client: Client, headers: dict[str, str]) -> httpx.Response:
    return await client.http.post("/api/jobs/start_job/", json=J(), headers=headers)


async def test_A1_no_token(client: Client) -> None:
    """Without a token nothing is done, and the refusal is JSON."""
    refused(await start(client, {}), 401)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        pytest.param("X-Auth-Token", "", id="A2"),
        pytest.param("x-auth-token", "", id="A2-lower-case"),
        pytest.param("Authorization", "Bearer ", id="A3"),
        pytest.param("Authorization", "", id="A4"),
    ],
)
async def test_A2_A3_A4_good_token(client: Client, name: Any, prefix: Any) -> None:
    """A token is taken from either header, in Authorization with or without Bearer."""
    assert (await start(client, {name: prefix + client.token})).status_code == 201


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        pytest.param("Authorization", "bearer ", id="A5"),
        pytest.param("Authorization", "Bearer  ", id="A5-two-blanks"),
        pytest.param("X-Auth-Token", "Bearer ", id="A5-wrong-header"),
    ],
)
async def test_A5_wrong_prefix(client: Client, name: Any, prefix: Any) -> None:
    """The prefix is exactly ``Bearer``, and only in Authorization."""
    refused(await start(client, {name: prefix + client.token}), 401)


async def test_A6_x_auth_token_decides_alone(client: Client) -> None:
    """A bad X-Auth-Token is not saved by a good Authorization; an empty one counts as absent."""
    good = {"Authorization": f"Bearer {client.token}"}
    refused(await start(client, {"X-Auth-Token": "garbage", **good}), 401)
    assert (await start(client, {"X-Auth-Token": "", **good})).status_code == 201


@pytest.mark.parametrize("roles", [["user"], ["api", "user"], ["admin"]], ids=["A7a", "A7b", "A7c"])
async def test_A7_wrong_roles(backend: EmbeddedBackend, client: Client, roles: Any) -> None:
    """The role api alone, or admin together with api, may call."""
    refused(await start(client, {"X-Auth-Token": backend.token(roles=roles)}), 401)


async def test_A7_no_role_at_all(backend: EmbeddedBackend, client: Client) -> None:
    """A token with an empty role list is answered with two objects in one body."""
    answer = await start(client, {"X-Auth-Token": backend.token(roles=[])})
    assert answer.status_code == 401
    assert answer.text.count('"Unauthorized"') == 2


async def test_A8_admin_and_api(backend: EmbeddedBackend, client: Client) -> None:
    """Admin together with api may call."""
    assert (await start(client, {"X-Auth-Token": backend.token(roles=["admin", "api"])})).status_code == 201


def foreign(algorithm: str) -> str:
    key = "secret" * 8 if algorithm == "HS256" else Ed25519PrivateKey.generate()
    return jwt.encode({"sub": "x", "roles": ["api"]}, key, algorithm=algorithm)


async def test_A9_expired(backend: EmbeddedBackend, client: Client) -> None:
    """An expired token is refused."""
    refused(await start(client, {"X-Auth-Token": backend.token(lifetime_s=-10)}), 401)


@pytest.mark.parametrize("algorithm", ["EdDSA", "HS256"])
async def test_A9_foreign_signature(client: Client, algorithm: Any) -> None:
    """Another key or another algorithm is refused."""
    refused(await start(client, {"X-Auth-Token": foreign(algorithm)}), 401)


async def test_A9_unsigned(client: Client) -> None:
    """An unsigned token is refused."""
    token = jwt.encode({"sub": "x", "roles": ["api"]}, "", algorithm="none")
    refused(await start(client, {"X-Auth-Token": token}), 401)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "x", "roles": ["api"], "nbf": time.time() + 3600}, id="nbf-in-future"),
        pytest.param({"roles": ["api"]}, id="no-sub"),
        pytest.param({"sub": "", "roles": ["api"]}, id="empty-sub"),
        pytest.param({"sub": "x"}, id="no-roles"),
        pytest.param({"sub": "x", "roles": "api"}, id="roles-no-list"),
    ],
)
async def test_A9_bad_claims(backend: EmbeddedBackend, client: Client, claims: Any) -> None:
    """A token that is not valid yet, or lacks its user or roles, is refused."""
    refused_or_twice = await start(client, {"X-Auth-Token": backend.sign(claims)})
    assert refused_or_twice.status_code == 401


async def test_A10_unknown_user(backend: EmbeddedBackend, client: Client) -> None:
    """The token alone decides; its user need not exist."""
    assert (await start(client, {"X-Auth-Token": backend.token("nobody-knows")})).status_code == 201


async def test_A11_address_list(backend: EmbeddedBackend, client: Client) -> None:
    """With a list of addresses others are refused; a proxy's header tells the address."""
    backend.knobs.allowed_ips = ["10.1.2.3"]
    token = {"X-Auth-Token": client.token}
    refused(await start(client, token), 401, "unknown ip")
    assert (await start(client, {**token, "X-Real-Ip": "10.1.2.3"})).status_code == 201
    forwarded = await start(client, {**token, "X-Forwarded-For": "10.1.2.3"})
    assert forwarded.status_code == 500  # let in, and the job is cached already


async def test_cross_site_request_is_refused(client: Client) -> None:
    """A browser on a foreign page can change nothing."""
    answer = await client.ask(
        "POST", "/api/jobs/start_job/", json=J(), headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403
