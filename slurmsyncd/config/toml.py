"""TOML, whatever is wrong with it: one exception for everything. Pure."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse(text: str) -> dict[str, Any]:
    """
    Read TOML.

    Raises:
        ValueError: It is none; the message says where.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
