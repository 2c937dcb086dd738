"""A job on real Slurm, told by REST, by core NATS, by JetStream and by cc-backend's line protocol at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from tests.e2e.site import Backend, Site
from tests.lab import until
from tests.nats.parts import key_of, make_stream, stored

if TYPE_CHECKING:
    from tests.lab import Lab
    from tests.nats.server import NatsServer

#: What the two backends have to show alike: all but ids of their own and when they were asked.
SAME = ("jobId", "user", "cluster", "subCluster", "partition", "project", "startTime", "jobState", "numNodes")
SAME_HELD = ("numHwthreads", "numAcc", "smt", "shared", "walltime", "resources", "metaData")


def settings(server: NatsServer, by_nats: Backend, token: str) -> dict[str, Any]:
    """Give three sinks beside the REST sink of every site."""
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
    """Give the kinds of a job's events in a stream, in its order."""
    found = map(key_of, anyio.run(stored, server.url, stream))
    return [kind for number, kind in found if number == job_id]


def shown(backend: Backend, job_id: int) -> list[dict[str, Any]]:
    rows = backend.jobs_of(job_id)
    return [{key: row.get(key) for key in (*SAME, *SAME_HELD)} for row in rows]


def test_a_job_on_real_slurm_is_told_in_every_way(server: NatsServer, lab: Lab) -> None:
    """With its cores and GPUs, which the backend behind NATS names as the one behind REST does."""
    # A stream on the subjects of core NATS hears what everybody there hears.
    anyio.run(partial(make_stream, server.url, name="CORE", subjects=["core.>"]))
    with Site.open(lab) as site:
        rest = site.backend()
        by_nats = Backend(lab, site.root / "by_nats", more=("--nats", server.url))
        site.backends.append(by_nats)
        token = site.root / "nats.token"
        token.touch(0o600)
        token.write_text(by_nats.token)
        daemon = site.daemon(rest, **settings(server, by_nats, str(token)))
        long = lab.sbatch("-n2", "--gres=gpu:1", script="sleep 300")
        short = lab.sbatch("-n1", script="sleep 1")
        for backend in (rest, by_nats):
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
            until(lambda: ended(rest, job_id) and ended(by_nats, job_id), f"end of {job_id}", timeout_s=60)  # noqa: B023 - called at once
            assert shown(by_nats, job_id) == shown(rest, job_id)
        until(by_nats.nodes, "node states", timeout_s=60)
        assert daemon.stop() == 0
        assert by_nats.told("start", long) == [], "told by REST"


def ended(backend: Backend, job_id: int) -> bool:
    return [row["jobState"] != "running" for row in backend.jobs_of(job_id)] == [True]
