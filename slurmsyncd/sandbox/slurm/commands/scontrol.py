"""``scontrol``: show job, nodes, config; ping; write batch_script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.sandbox.slurm import node_usage as machines
from slurmsyncd.sandbox.slurm import scontrol_text as details
from slurmsyncd.sandbox.slurm import squeue_record as jobs
from slurmsyncd.sandbox.slurm.commands.apply_faults import reach_slurmctld
from slurmsyncd.sandbox.slurm.commands.cluster import select_cluster
from slurmsyncd.sandbox.slurm.commands.invocation import CommandError
from slurmsyncd.sandbox.slurm.commands.options import parse
from slurmsyncd.sandbox.slurm.commands.squeue import in_memory, json_shape

if TYPE_CHECKING:
    from slurmsyncd.sandbox.slurm.commands.invocation import Invocation

_OPTIONS = {
    **dict.fromkeys(("a", "all"), "all"),
    **dict.fromkeys(("d", "details"), "details"),
    **dict.fromkeys(("o", "oneliner"), "oneliner"),
    **dict.fromkeys(("Q", "quiet"), "quiet"),
    **dict.fromkeys(("M", "clusters"), "clusters="),
}
_BOX = (
    "*****************************************\n"
    "** RESTORE SLURMCTLD DAEMON TO SERVICE **\n"
    "*****************************************\n"
)
_UNKNOWN = "slurm_load_jobs error: Invalid job id specified"


def run(answer: Invocation) -> int:
    """Answer one scontrol."""
    known = _OPTIONS | ({"json": "json?"} if answer.shape.modern else {})
    options, words = parse("scontrol", answer.argv, known)
    if "json" in options:
        answer.shape = json_shape(answer, options["json"])
    select_cluster(answer, options, heading=False)
    match words:
        case ["ping"]:
            return _ping(answer, options)
        case ["show", "config" | "conf"]:
            reach_slurmctld(answer, "slurm_load_ctl_conf error")
            answer.write(_config(answer))
        case ["show", "job" | "jobs" | "jobid", *ids]:
            _show_jobs(answer, options, ids)
        case ["show", "node" | "nodes", *names]:
            return _show_nodes(answer, options, names)
        case ["write", "batch_script", job_id, "-"]:
            _write_script(answer, job_id)
        case _:
            raise CommandError(f"invalid keyword: {' '.join(words)}")
    return 0


def _ping(answer: Invocation, options: dict[str, str]) -> int:
    up = "ctld" not in answer.faults and "munge" not in answer.faults
    if not up and not answer.faults.get("ctld", "").startswith(
        "down"
    ):  # a port that is closed is known at once
        _wait_in_vain(answer)
    host = answer.settings.get("host", "head")
    if "json" in options:
        record = answer.shape.records["pings"]["pings"][0] | {"hostname": host, "responding": up}
        for key in {"pinged", "status"} & record.keys():
            record[key] = "UP" if up else "DOWN"
        around = {key: value for key, value in answer.shape.records["pings"].items() if key != "pings"}
        answer.json("pings", [record], around)
        return 0  # also when it is down
    answer.write(f"Slurmctld(primary) at {host} is {'UP' if up else 'DOWN'}\n{'' if up else _BOX}")
    return 0 if up else 1


def _wait_in_vain(answer: Invocation) -> None:
    try:
        reach_slurmctld(answer, "slurm_ping")
    except CommandError as refused:
        answer.complain(refused.message.rpartition("\n")[0])


def _config(answer: Invocation) -> str:
    host = answer.settings.get("host", "head")
    instead = {
        "ClusterName": answer.cluster,
        "MinJobAge": f"{answer.settings.get('min_job_age_s', '300')} sec",
        "SlurmctldHost[0]": f"{host}(127.0.0.1)",
        "SLURM_VERSION": answer.shape.version,
        "BOOT_TIME": answer.instant(float(answer.settings.get("boot_at", answer.now))),
    }
    lines = [f"Configuration data as of {answer.instant(answer.now)}"]
    for line in answer.shape.text("config").split("\n")[1:]:
        name, equals, _ = line.partition("=")
        value = instead.get(name.strip())
        lines.append(line if value is None or not equals else f"{name}= {value}")
    return "\n".join(lines).replace(" at head is ", f" at {host} is ")


def _show_jobs(answer: Invocation, options: dict[str, str], ids: list[str]) -> None:
    shape = answer.shape
    if "json" in options:
        updated = 0 if ids else int(answer.now)
        try:
            reach_slurmctld(answer, "slurm_load_jobs error", twice=bool(ids))
            found = list(in_memory(answer, ids))
        except CommandError:
            found, updated = [], 0  # exits 0, says nothing: README 1.1
        around = shape.envelope("ctld", answer.home, updated, ["scontrol", *answer.argv])
        answer.json("jobs", (answer.spoil(jobs.record(one, shape, answer.cluster)) for one in found), around)
        return
    reach_slurmctld(answer, "slurm_load_jobs error", twice=bool(ids))
    found = list(in_memory(answer, ids))
    if ids and not found:
        raise CommandError(_UNKNOWN)
    if not found:
        answer.write("No jobs in the system\n")
    for one in found:
        text = details.job(one, shape, answer.now, answer.instant, cores="details" in options)
        if "oneliner" in options:
            text = " ".join(text.split("\n   ")).rstrip() + " \n"
        answer.write(text)


def _show_nodes(answer: Invocation, options: dict[str, str], names: list[str]) -> int:
    reach_slurmctld(answer, "slurm_load_node error")
    shape = answer.shape
    found = machines.loads(answer.state, names)
    if "json" in options:
        around = shape.envelope("nodes", answer.home, int(answer.now), ["scontrol", *answer.argv])
        answer.json("nodes", (machines.record(load, shape) for load in found), around)
        return 0
    for load in found:
        answer.write(machines.text(load, shape, answer.instant))
    for name in set(names) - {load.node["name"] for load in found}:
        answer.write(f"Node {name} not found\n")
    return 0 if found or not names else 1


def _write_script(answer: Invocation, job_id: str) -> None:
    """Print a batch script; whatever goes wrong, the status is 0."""
    try:
        reach_slurmctld(answer, "job script retrieval failed")
    except CommandError as refused:
        raise CommandError(refused.message, 0) from None
    found = list(in_memory(answer, [job_id]))
    if not found or not found[0]["request"]["batch"]:
        raise CommandError("job script retrieval failed: Invalid job id specified", 0)
    answer.write(found[0]["request"]["script"])
