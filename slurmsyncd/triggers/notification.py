"""
What a hook may say: bytes from a socket to a ``Notification``, or a refusal. Pure.

The message is described in ``slurmsyncd.notify``. Anything else is refused with one short constant, which
is what is counted: a stranger's bytes never reach a log.
"""

from __future__ import annotations

import hmac
import re

from slurmsyncd.errors import NotificationError
from slurmsyncd.model import Notification

#: Bytes of the longest message.
MESSAGE_LIMIT = 8192
#: What a cluster may be called; Slurm itself allows 40 characters.
CLUSTER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)

_MESSAGE = re.compile(rb"slurmsyncd/1((?: [a-z]{1,16}=[!-~]+){1,16})\n?")
_VERSION = re.compile(rb"slurmsyncd/(?!1[ \n])[0-9]{1,9}[ \n]")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_CONTEXTS = frozenset({"prolog", "epilog", "test"})
_NUMBERS = frozenset({"job", "restarts", "array", "task", "het", "offset"})
_FIELDS = _NUMBERS | {"context", "cluster", "secret"}
# Slurm's ids are 32 bits wide, and the topmost values mean "none" and "unlimited".
_ID_LIMIT = 0xFFFFFFF0


def parse_notification(data: bytes, *, secret: str = "") -> Notification:
    """
    Read one message.

    Args:
        data: One datagram, or what a stream carried up to its newline.
        secret: What the message must carry as ``secret``; empty: nothing is asked for.

    Raises:
        NotificationError: The message is invalid. The text is a constant: size, version, syntax, secret,
            field, number, context, cluster or job.
    """
    fields = _split(data)
    if secret and not hmac.compare_digest(fields.get("secret", "").encode(), secret.encode()):
        raise NotificationError("secret")
    if not fields.keys() <= _FIELDS:
        raise NotificationError("field")
    numbers = {name: _number(fields[name]) for name in _NUMBERS & fields.keys()}
    context = fields.get("context")
    if context not in _CONTEXTS:
        raise NotificationError("context")
    cluster = fields.get("cluster", "")
    if not CLUSTER.fullmatch(cluster) and (cluster or context != "test"):
        raise NotificationError("cluster")
    job_id = numbers.get("job", 0)
    if not job_id and context != "test":
        raise NotificationError("job")
    return Notification(cluster=cluster, job_id=job_id, context=context, restarts=numbers.get("restarts", 0))


def _split(data: bytes) -> dict[str, str]:
    if len(data) > MESSAGE_LIMIT:
        raise NotificationError("size")
    match = _MESSAGE.fullmatch(data)
    if not match:
        raise NotificationError("version" if _VERSION.match(data) else "syntax")
    pairs = [word.split("=", 1) for word in match[1].decode("ascii").split()]
    if len({name for name, _ in pairs}) != len(pairs):
        raise NotificationError("syntax")
    return dict(pairs)


def _number(text: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) >= _ID_LIMIT:
        raise NotificationError("number")
    return int(text)
