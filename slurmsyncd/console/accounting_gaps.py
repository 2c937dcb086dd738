"""How commands name accounting that could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slurmsyncd.console.times import iso
from slurmsyncd.text import safe

if TYPE_CHECKING:
    from slurmsyncd.model import Gap


def unread_span(gap: Gap) -> str:
    """Describe a span of accounting that could not be read."""
    return f"accounting from {iso(gap.since)} to {iso(gap.until)} UTC could not be read: {safe(gap.reason)}"
