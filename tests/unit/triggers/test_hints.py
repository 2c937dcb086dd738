"""What a hint may look like, and what is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slurmsyncd import notify
from slurmsyncd.errors import NotificationError
from slurmsyncd.model import Notification
from slurmsyncd.triggers.notification import MESSAGE_LIMIT, parse_notification

GOOD = b"slurmsyncd/1 context=epilog cluster=alpha job=27 restarts=1 array=6 task=0\n"


def refusal(data: bytes, *, secret: str = "") -> str:
    with pytest.raises(NotificationError) as caught:
        parse_notification(data, secret=secret)
    return str(caught.value)


def test_reads_what_a_hook_says() -> None:
    """A message becomes a hint of its cluster, job, context and restart count; the rest is validated only."""
    assert parse_notification(GOOD) == Notification(cluster="alpha", job_id=27, context="epilog", restarts=1)


def test_a_test_needs_no_job() -> None:
    """An operator can ring without a job; a hook cannot."""
    assert parse_notification(b"slurmsyncd/1 context=test") == Notification(
        cluster="", job_id=0, context="test"
    )
    assert refusal(b"slurmsyncd/1 context=prolog cluster=alpha") == "job"
    assert refusal(b"slurmsyncd/1 context=prolog job=1") == "cluster"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "syntax"),
        (b"x", "syntax"),
        (b"\n", "syntax"),
        (b"slurmsyncd/1", "syntax"),
        (b"slurmsyncd/1\n", "syntax"),
        (b"slurmsyncd/2 context=test\n", "version"),
        (b"slurmsyncd/11 context=test\n", "version"),
        (b"slurmsyncd/1  context=test\n", "syntax"),
        (GOOD + b"\n", "syntax"),
        (GOOD + GOOD, "syntax"),
        (GOOD[:-20], "syntax"),
        (GOOD.replace(b"alpha", b"\xff\xfe"), "syntax"),
        (GOOD.replace(b"alpha", "älpha".encode()), "syntax"),
        (b"slurmsyncd/1 context=test job=1 job=2\n", "syntax"),
        (b"slurmsyncd/1 context=test nodes=n1\n", "field"),
        (b"slurmsyncd/1 context=prolog_slurmctld cluster=a job=1\n", "context"),
        (b"A" * 65536, "size"),
        (b"slurmsyncd/1 context=test cluster=" + b"a" * MESSAGE_LIMIT, "size"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "syntax"),
    ],
)
def test_k7_refuses_what_is_no_message(data: bytes, reason: str) -> None:
    """Empty, short, long, binary, half, doubled, non-UTF-8 or of another version: refused with its reason."""
    assert refusal(data) == reason


@pytest.mark.parametrize("cluster", ["-x", ".", "$(id)", "a;b", "a/b", "`x`", "a" * 65, "../x"])
def test_k8_k12_a_cluster_name_is_a_plain_word(cluster: str) -> None:
    """No option, path or shell character passes as the name of a cluster."""
    assert refusal(f"slurmsyncd/1 context=prolog cluster={cluster} job=1\n".encode()) == "cluster"


@pytest.mark.parametrize("job", ["0", "-1", "+1", "01", "1e3", "1_0", "0x1", "1;2", "4294967294", "9" * 4000])
def test_k12_a_job_id_is_decimal(job: str) -> None:
    """A job id is a plain decimal number within Slurm's range."""
    assert refusal(f"slurmsyncd/1 context=prolog cluster=a job={job}\n".encode()) in {"number", "job"}


def test_k11_a_secret_has_to_match() -> None:
    """Where a secret is wanted, a message without it or with another one is refused."""
    assert refusal(GOOD, secret="sesame-sesame-00") == "secret"
    assert refusal(GOOD.rstrip() + b" secret=x\n", secret="sesame-sesame-00") == "secret"
    assert (
        parse_notification(GOOD.rstrip() + b" secret=sesame-sesame-00\n", secret="sesame-sesame-00").job_id
        == 27
    )


@given(st.binary(max_size=300))
@example(b"slurmsyncd/1 =\n")
def test_k7_any_bytes_are_a_hint_or_refused(data: bytes) -> None:
    """Whatever comes in, the answer is a hint or a HintError, never another exception."""
    with suppress(NotificationError):
        parse_notification(data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["context", "cluster", "job", "restarts", "task", "secret", "x"]),
            st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F), min_size=1, max_size=12)
            | st.integers(0, 2**34).map(str)
            | st.sampled_from(["prolog", "epilog", "test"]),
        ),
        max_size=8,
    )
)
def test_k7_near_misses_are_a_hint_or_refused(pairs: list[tuple[str, str]]) -> None:
    """Messages that are almost right are read or refused, and what is read is within bounds."""
    line = " ".join(["slurmsyncd/1", *(f"{name}={value}" for name, value in pairs)])
    try:
        hint = parse_notification(line.encode())
    except NotificationError:
        return
    assert hint.context in {"prolog", "epilog", "test"}
    assert 0 <= hint.job_id < 2**32


@given(
    job=st.integers(1, 67_108_863),
    restarts=st.integers(0, 1000),
    cluster=st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,39}", fullmatch=True),
    script=st.sampled_from(["prolog_slurmctld", "epilog_slurmctld"]),
)
def test_what_notify_composes_is_read_back(job: int, restarts: int, cluster: str, script: str) -> None:
    """The two ends of the message agree, for all that Slurm can say."""
    said = notify.compose(
        {
            "SLURM_JOB_ID": str(job),
            "SLURM_CLUSTER_NAME": cluster,
            "SLURM_JOB_RESTART_COUNT": str(restarts),
            "SLURM_SCRIPT_CONTEXT": script,
            "SLURM_ARRAY_JOB_ID": "6",
            "SLURM_ARRAY_TASK_ID": "4",
            "SLURM_HET_JOB_OFFSET": "0",
        }
    )
    assert parse_notification(said.encode()) == Notification(cluster, job, script[:6], restarts)
