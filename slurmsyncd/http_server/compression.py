"""Compression and dates of answers. Pure."""

from __future__ import annotations

import functools
import time
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slurmsyncd.http_server.messages import HttpRequest, HttpResponse

_WORTH_IT = 256  # bytes; below, the headers cost as much as is saved
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def compress(request: HttpRequest, response: HttpResponse) -> bytes | None:
    """Return the body gzipped, or None if the client did not ask or it would not pay."""
    if len(response.body) < _WORTH_IT or not _takes_gzip(request.headers.get("accept-encoding", "")):
        return None
    packer = zlib.compressobj(level=4, wbits=31)
    return packer.compress(response.body) + packer.flush()


def _takes_gzip(accept: str) -> bool:
    for offer in accept.lower().split(","):
        coding, _, quality = offer.partition(";")
        if coding.strip() == "gzip":
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


@functools.lru_cache(maxsize=1)
def http_date(at: int) -> str:
    """Return an instant (epoch seconds) as HTTP wants it; independent of the locale, unlike strftime."""
    t = time.gmtime(at)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    return f"{day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
