"""
Inputs that cost little to write and much to be taken at their word; ``python -m tests.tools.fuzz.bombs``.

All are read with a quarter of a gigabyte and a minute of CPU time. What takes more ends the process, and the
last line names it.
"""

from __future__ import annotations

import os
import resource
from functools import partial
from pathlib import Path

from slurmsyncd.sinks.rest.responses import RequestKind
from slurmsyncd.slurm.job_list import WIDTH
from tests.tools.fuzz.http import check_conversation
from tests.tools.fuzz.targets import (
    check_acknowledgement,
    check_answer,
    check_config,
    check_document,
    check_event,
    check_gres,
    check_hostlist,
    check_job_record,
    check_listing,
    check_message,
    check_retry_after,
    check_token,
    check_topology,
    check_tres,
)

MEMORY = 256 * 2**20
CPU_S = 60
MEGA = 2**20

BOMBS = {
    "hosts_many": partial(check_hostlist, "n[0-999999999]"),
    "hosts_of_hosts": partial(check_hostlist, "n[0-999999999]" * 250_000),
    "hosts_with_long_names": partial(check_hostlist, "n" * MEGA + "[0-65535]"),
    "hosts_with_many_ranges": partial(check_hostlist, "n[" + "0," * MEGA + "0]"),
    "hosts_one_by_one": partial(check_hostlist, "n," * MEGA),
    "hosts_brackets": partial(check_hostlist, "[0]" * MEGA),
    "gres_indexes": partial(check_gres, "gpu:1(IDX:" + "0-1023," * 9000 + "0)"),
    "gres_parts": partial(check_gres, ":" * 65000 + "1"),
    "gres_items": partial(check_gres, "gpu:1(0/1)," * 5900),
    "tres_items": partial(check_tres, "cpu=1," * 10_900),
    "rows_of_nothing": partial(check_listing, b"\n" * 4 * MEGA),
    "rows_too_wide": partial(check_listing, (b"7" + b"4f1d8a90c2b7e653" * (WIDTH + 1) + b"\n") * 20_000),
    "json_deep": partial(check_document, b'{"jobs":' + b"[" * MEGA),
    "json_deep_error": partial(check_document, b'{"errors":' + b"[" * 900 + b"]" * 900 + b"}"),
    "json_not_numbers": partial(check_document, b'{"jobs":[' + b"NaN," * MEGA + b"1]"),
    "json_digits": partial(check_job_record, b'{"job_id":' + b"9" * MEGA + b"}"),
    "json_exponent": partial(check_job_record, b'{"job_id":1e999999999}'),
    "message_fields": partial(check_message, b"slurmsyncd/1" + b" a=b" * 2000),
    "message_digits": partial(check_message, b"slurmsyncd/1 job=" + b"9" * 8000),
    "date_brackets": partial(check_retry_after, "(" * 65_000),
    "date_parts": partial(check_retry_after, "1:" * 32_000),
    "date_digits": partial(check_retry_after, "9" * 65_000),
    "token_claims": partial(check_token, "e30." + "W1tb" * 16_000 + ".x"),
    "answer_deep": partial(check_answer, (RequestKind.START, 422, b"[" * 16_000, False)),
    "acknowledgement_deep": partial(check_acknowledgement, b'{"a":' + b"[" * 16_000),
    "event_deep": partial(check_event, b'{"run":' + b"[" * 16_000),
    "topology_deep": partial(check_topology, b'{"clusters":' + b"[" * MEGA),
    "topology_brackets": partial(
        check_topology,
        b'{"clusters":[{"name":"c","subClusters":[{"name":"s","nodes":"' + b"n[0-1]" * 9000 + b'"}]}]}',
    ),
    "config_deep": partial(check_config, b"a = " + b"[" * 200_000),
    "config_number": partial(check_config, b"[daemon]\npoll_interval = 0x" + b"f" * 200_000),
    "http_header": partial(check_conversation, b"GET / HTTP/1.1\r\nA: " + b"a" * MEGA),
    "http_headers": partial(check_conversation, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200_000),
    "http_body": partial(
        check_conversation, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"
    ),
    "http_chunks": partial(
        check_conversation,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 9000,
    ),
    "http_query": partial(check_conversation, b"GET /?" + b"&" * 1900 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
}


def main() -> None:
    """Set them off, one after the other."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    for name, bomb in BOMBS.items():
        os.write(1, f"{name}\n".encode())
        bomb()


if __name__ == "__main__":
    main()
