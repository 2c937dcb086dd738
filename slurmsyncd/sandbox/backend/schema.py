"""The request bodies of cc-backend 1.5 (contract sections 3, 5, 8, 10). Pure."""

from __future__ import annotations

from slurmsyncd.sandbox.backend.decode import INT32, INT64, NUMBER, STRING, array, mapping, struct

STATES = (
    "boot_fail",
    "cancelled",
    "completed",
    "deadline",
    "failed",
    "node_fail",
    "out_of_memory",
    "pending",
    "preempted",
    "running",
    "suspended",
    "timeout",
)
SHARED = ("none", "single_user", "multi_user")

_RESOURCE = struct(
    "schema.Resource",
    {"hostname": STRING, "configuration": STRING, "hwthreads": array(INT32), "accelerators": array(STRING)},
)
_TAG = struct("schema.Tag", {"type": STRING, "name": STRING, "scope": STRING, "id": INT64})
_UNIT = struct("schema.Unit", {"base": STRING, "prefix": STRING})
_STATISTICS = struct("schema.JobStatistics", {"unit": _UNIT, "avg": NUMBER, "min": NUMBER, "max": NUMBER})
_LINK = struct("schema.JobLink", {"id": INT64, "jobId": INT64})

JOB = struct(
    "schema.Job",
    {
        "jobId": INT64,
        "user": STRING,
        "cluster": STRING,
        "subCluster": STRING,
        "partition": STRING,
        "project": STRING,
        "arrayJobId": INT64,
        "numNodes": INT32,
        "numHwthreads": INT32,
        "numAcc": INT32,
        "shared": STRING,
        "walltime": INT64,
        "smt": INT32,
        "resources": array(_RESOURCE),
        "metaData": mapping(STRING),
        "startTime": INT64,
        "tags": array(_TAG),
        "submitTime": INT64,
        "requestedMemory": INT64,
        "jobState": STRING,
        "monitoringStatus": INT32,
        "duration": INT32,
        "id": INT64,
        "statistics": mapping(_STATISTICS),
        "energy": NUMBER,
        "energyFootprint": mapping(NUMBER),
        "footprint": mapping(NUMBER),
        "concurrentJobs": struct("schema.JobLinkResultList", {"items": array(_LINK), "count": INT64}),
    },
)
_WHICH = {"jobId": INT64, "cluster": STRING, "startTime": INT64}
STOP = struct("api.StopJobAPIRequest", {**_WHICH, "stopTime": INT64, "jobState": STRING})
DELETE = struct("api.DeleteJobAPIRequest", _WHICH)
TAGS = array(_TAG)
EDIT = struct("api.EditMetaRequest", {"key": STRING, "value": STRING})
EDIT_WHICH = struct("api.JobMetaRequest", {**_WHICH, "payload": EDIT})
NODE_STATE = struct(
    "api.UpdateNodeStatesRequest",
    {
        "cluster": STRING,
        "nodes": array(
            struct(
                "api.Node",
                {
                    "hostname": STRING,
                    "states": array(STRING),
                    "cpusAllocated": INT64,
                    "memoryAllocated": INT64,
                    "gpusAllocated": INT64,
                    "jobsRunning": INT64,
                },
            )
        ),
    },
)
