"""TOML parser with a single exception for every error. Pure."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse(text: str) -> dict[str, Any]:
    """
    Parse TOML text.

    Raises:
        ValueError: The text is not valid TOML; the message contains the position.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
