"""Where the tests find the checkout, wherever they are themselves."""

from __future__ import annotations

from pathlib import Path

#: The checkout: what holds `pyproject.toml`.
ROOT = Path(__file__).parents[1]
