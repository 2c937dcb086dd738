"""A job on real Slurm, told by REST, by core NATS, by JetStream and a relay, and by NATS only, all at once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from tests.system.e2e.site import Backend, Site
from tests.tools.lab import until
from tests.unit.relay.parts import relay
from tests.unit.sinks.nats.parts import key_of, make_stream, stored

if TYPE_CHECKING:
    from tests.system.nats.server import NatsServer
    from tests.tools.lab import Lab

#: What the two backends have to show alike: all but ids of their own and when they were asked.
SAME = ("jobId", "user", "cluster", "subCluster", "partition", "project", "startTime", "jobState", "numNodes")
SAME_HELD = ("numHwthreads", "numAcc", "smt", "shared", "walltime", "resources", "metaData")


def settings(server: NatsServer, by_nats: Backend, token: str) -> dict[str, Any]:
    """Return three sinks beside the REST sink of every site."""
    common = {"type": "nats", "servers": [server.url], "nodestate_interval": 0}
    return {
        **named("core", **common, job_subject="core.{cluster}.job"),
        **named("stream", **common, mode="jetstream", stream="JOBS", manage_stream=True),
        **named(
            "line",
            **{**common, "nodestate_interval": 1},
            format="cc",
            job_subject="cc.jobs",
            node_subject="cc.nodes",
            url=by_nats.url,
            token_file=token,
            stop_hold=2,
        ),
    }


def named(sink: str, **values: Any) -> dict[str, Any]:
    return {f"sinks__{sink}__{key}": value for key, value in values.items()}


def events(server: NatsServer, stream: str, job_id: int) -> list[str]:
    """Return the kinds of a job's events in a stream, in its order."""
    found = map(key_of, anyio.run(stored, server.url, stream))
    return [kind for number, kind in found if number == job_id]


def shown(backend: Backend, job_id: int, *but: str) -> list[dict[str, Any]]:
    """Return what every backend shows alike."""
    return [
        {key: row.get(key) for key in (*SAME, *SAME_HELD) if key not in but}
        for row in backend.jobs_of(job_id)
    ]


class Address(NamedTuple):
    """What a relay has to know of a backend."""

    url: str
    secret: str

    def token(self) -> str:
        return self.secret


def nats_only(server: NatsServer) -> dict[str, Any]:
    """Return the only sink of a daemon: what it publishes, and an audit by GET."""
    subjects = {"job_subject": "only.jobs", "node_subject": "only.nodes"}
    audit = {"audit_interval": 1, "audit_grace": 3}
    return named("cc", type="nats", format="cc", servers=[server.url], **subjects, **audit)


def listening(site: Site, server: NatsServer, name: str, *more: str) -> Backend:
    """Start a backend that takes jobs by NATS and none by REST."""
    made = Backend(site.lab, site.root / name, more=("--nats", server.url, *more))
    site.backends.append(made)
    return made


def test_a_job_on_real_slurm_is_told_in_every_way(server: NatsServer, lab: Lab) -> None:
    """
    With its cores and GPUs, which every backend names as the one behind REST does.

    The backend that is told by NATS only loses the first message; the audit finds that and has it sent anew.
    """
    # A stream on the subjects of core NATS hears what everybody there hears.
    anyio.run(partial(make_stream, server.url, name="CORE", subjects=["core.>"]))
    with Site.open(lab) as site, ExitStack() as undo:
        rest, behind_relay = site.backend(), site.backend()
        by_nats = listening(site, server, "by_nats")
        subjects = ("--nats-subject", "only.jobs", "--nats-node-subject", "only.nodes")
        only = listening(site, server, "only", *subjects)
        only.ask("PATCH", "/-/knobs", {"nats_lost": 1})
        everybody = (rest, behind_relay, by_nats, only)
        token = site.root / "nats.token"
        token.touch(0o600)
        token.write_text(by_nats.token)
        daemon = site.daemon(rest, **settings(server, by_nats, str(token)))
        alone = site.daemon(only, **nats_only(server))
        address = Address(behind_relay.url, behind_relay.token)
        (relayed,) = undo.enter_context(relay(site.root / "relay", address, server.url))
        long = lab.sbatch("-n2", "--gres=gpu:1", script="sleep 300")
        short = lab.sbatch("-n1", script="sleep 1")
        for backend in everybody:
            until(lambda: backend.jobs_of(long), "running job", timeout_s=60)  # noqa: B023 - called at once
        lab.wait_accounted(short)
        lab.scancel(long)
        lab.wait_accounted(long)
        for job_id in (long, short):
            for stream in ("CORE", "JOBS"):
                until(
                    lambda: events(server, stream, job_id) == ["start", "stop"],  # noqa: B023 - called at once
                    f"events of {job_id} in {stream}",
                    timeout_s=60,
                )
            for backend in everybody:
                until(lambda: ended(backend, job_id), f"end of {job_id}", timeout_s=60)  # noqa: B023 - called at once
                # The other daemon has looked at Slurm at other moments.
                but = ("metaData",) if backend is only else ()
                assert shown(backend, job_id, *but) == shown(rest, job_id, *but)
        until(by_nats.nodes, "node states", timeout_s=60)
        # What was lost may have spoken of a job of another test, which slurmctld still knows.
        until(lambda: alone.events("audit_finding"), "what was lost", timeout_s=60)
        assert [each.stop() for each in (daemon, alone)] == [0, 0]
        assert relayed.stop() == 0
        for backend in (by_nats, only):
            assert backend.told("start", long) == [], "told by REST"
        assert len(behind_relay.told("start", long)) == 1


def ended(backend: Backend, job_id: int) -> bool:
    return [row["jobState"] != "running" for row in backend.jobs_of(job_id)] == [True]
