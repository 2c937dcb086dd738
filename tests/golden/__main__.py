"""``python -m tests.golden``: write down anew what others see, for a change that is meant."""

from __future__ import annotations

import json

from tests.golden.surfaces import surfaces
from tests.golden.test_public import GOLDEN

GOLDEN.write_text(json.dumps(surfaces(), indent=1) + "\n")
