"""What the configuration of a NATS sink refuses, with the field named; and what other sinks refuse of it."""

from __future__ import annotations

from typing import Any

import pytest

from slurmsyncd.config import load_config
from slurmsyncd.errors import ConfigError

NATS = {"type": "nats", "servers": ["nats://127.0.0.1:4222"]}
REST = {"url": "https://cc.example.org", "token_file": "token"}
CANARY = "s3cr3t-canary"


def problems(section: dict[str, Any], **clusters: Any) -> list[str]:
    try:
        load_config({"sinks": {"x": section}, "clusters": clusters})
    except ConfigError as err:
        return list(err.problems)
    return []


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"mode": "jetstream", "stream": "JOBS", "manage_stream": True},
        {"format": "cc", "job_subject": "cc.jobs", "node_subject": "cc.nodes", **REST},
        {"servers": ["tls://a.example.org:4222", "tls://[::1]:4222"], "user": "x", "password_file": "p"},
        {"servers": ["nats://a.example.org"], "nkey_seed_file": "/seed"},
        {"servers": ["nats://a.example.org"], "nats_token_file": "t", "insecure_http": True},
        {"servers": ["nats://a.example.org"], "nats_token_file": "t", "ca_file": "/ca.pem"},
    ],
)
def test_what_is_right_is_taken(more: dict[str, Any]) -> None:
    """Both modes, both formats, each way to log in."""
    assert problems({**NATS, **more}) == []


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"servers": []}, "sinks.x.servers = []"),
        (
            {"servers": ["http://a"]},
            "sinks.x.servers: 'http://a': nats://host:port or tls://host:port is wanted",
        ),
        ({"servers": ["nats://a:99999"]}, "sinks.x.servers"),
        ({"servers": ["nats://a b"]}, "sinks.x.servers"),
        ({"servers": ["nats://u:s3cr3t-canary@a"]}, "use user and password_file"),
        ({"mode": "exactly-once"}, "sinks.x.mode = 'exactly-once': one of core, jetstream is wanted"),
        ({"format": "xml"}, "sinks.x.format"),
        ({"url": "https://cc.example.org"}, "sinks.x.url"),
        ({"token_file": "t"}, "sinks.x.token_file"),
        ({"format": "cc", "token_file": "t"}, "sinks.x.url = ''"),
        ({"format": "cc", "url": "https://cc.example.org"}, "sinks.x.token_file = ''"),
        ({"requeue": "keep-first"}, "sinks.x.requeue = 'keep-first': goes with type = \"rest\" only"),
        ({"stream": "JOBS"}, "sinks.x.stream = 'JOBS': goes with mode = \"jetstream\" only"),
        ({"mode": "jetstream", "manage_stream": True}, "sinks.x.stream = ''"),
        ({"mode": "jetstream", "stream": "a.b"}, "sinks.x.stream = 'a.b'"),
        ({"user": "x"}, "sinks.x.password_file = ''"),
        ({"password_file": "x"}, "sinks.x.user = ''"),
        ({"creds_file": "a", "nkey_seed_file": "b"}, "one way to log in is wanted"),
        ({"cert_file": "/a"}, "sinks.x.key_file = ''"),
        ({"servers": ["nats://a.example.org"], "nats_token_file": "t"}, "sends the secret in the clear"),
        ({"user": "x", "password_file": "p/q"}, "sinks.x.password_file: an absolute path"),
        ({"creds_file": "etc/nats.creds"}, "sinks.x.creds_file: an absolute path"),
        ({"nats_token_file": "eyJhbGciOi.x"}, "sinks.x.nats_token_file: this is a token"),
        ({"node_subject": "slurm.{cluster}.job"}, "another than job_subject is wanted"),
        ({"timeout": 0}, "sinks.x.timeout"),
    ],
)
def test_what_is_wrong_is_named(more: dict[str, Any], wrong: str) -> None:
    """In one line with the setting, and without anything that may be a secret."""
    found = problems({**NATS, **more})
    assert any(wrong in line for line in found), found
    assert CANARY not in "".join(found)


@pytest.mark.parametrize(
    "key", ["password_file", "nats_token_file", "nkey_seed_file", "creds_file", "token_file", "url"]
)
@pytest.mark.parametrize("section", [NATS, REST, {**NATS, "format": "cc", "url": "https://cc.example.org"}])
def test_x8_a_secret_where_its_file_belongs_is_not_shown(section: dict[str, Any], key: str) -> None:
    """Neither in a sink that has no use for the setting nor in one that has."""
    for secret in (f"/+{CANARY}", f"{CANARY}/+=", f"eyJhbGciOi.{CANARY}"):
        assert CANARY not in "".join(problems({**section, key: secret}))


@pytest.mark.parametrize(
    "subject", ["", "a..b", "*", "a.>", "a b", "a\r\nb", "$JS.API.>", "a.{host}", ".a", "a.", "ä", "a" * 201]
)
def test_n9_a_template_is_words_and_dots(subject: str) -> None:
    """No wildcard, blank or line end, and nothing but the cluster to put in."""
    (line,) = problems({**NATS, "job_subject": subject})
    assert line.startswith("sinks.x.job_subject = ")


def test_n9_a_cluster_whose_name_cannot_be_part_of_a_subject_is_named() -> None:
    """Its name at the backend counts; where no subject has it, any will do."""
    (line,) = problems(NATS, **{"a.b": {}})
    assert "clusters.'a.b'.backend_name = 'a.b'" in line
    assert problems(NATS, **{"a.b": {"backend_name": "ab"}}) == []
    assert problems({**NATS, "job_subject": "jobs", "node_subject": "nodes"}, **{"a.b": {}}) == []


@pytest.mark.parametrize(
    "key", ["servers", "mode", "format", "user", "creds_file", "stream", "manage_stream"]
)
def test_a_rest_sink_has_no_use_for_natss_settings(key: str) -> None:
    """One that is there by mistake is named."""
    value = {"servers": ["nats://a"], "manage_stream": True, "mode": "jetstream", "format": "cc"}.get(
        key, "x"
    )
    (line,) = problems({**REST, key: value})
    assert line.startswith(f"sinks.x.{key}")
    assert 'goes with type = "nats" only' in line
