"""``python -m tests.unit.golden``: write down anew what others see, for a change that is meant."""

from __future__ import annotations

import json

from tests.unit.golden.surfaces import surfaces
from tests.unit.golden.test_public import GOLDEN

GOLDEN.write_text(json.dumps(surfaces(), indent=1) + "\n")
