"""What the commands cost that somebody else starts: each is run by a program that notes what it used."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.tools.lab.lab import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

# Not a shell: its children's peaks are not to be had there. What a command's peak cannot be below is the
# interpreter's own: it counts as the child's until that has become another program.
_NOTING = """\
#!/usr/bin/python3 -IS
import json, os, sys
argv = ["{real}", *sys.argv[1:]]
_, status, used = os.wait4(os.posix_spawn(argv[0], argv, os.environ), 0)
note = dict(name="{name}", argv=argv[1:], rss_mb=used.ru_maxrss * 1.024e-3, cpu_s=used.ru_utime + used.ru_stime)
file = os.open("{notes}", os.O_WRONLY | os.O_APPEND)
os.write(file, (json.dumps(note) + "\\n").encode())
os._exit(os.waitstatus_to_exitcode(status) & 255)
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What a command used: its largest resident set, and CPU."""

    name: str
    argv: tuple[str, ...]
    rss_mb: float
    cpu_s: float


class Noting:
    """
    Slurm's commands, run by way of programs that note what they use.

    Attributes:
        bin_dir: These programs.
    """

    def __init__(self, root: Path, real: Path) -> None:
        self.bin_dir = root / "noting"
        self.bin_dir.mkdir()
        self._notes = root / "notes"
        self._notes.touch()
        for name in COMMANDS:
            program = self.bin_dir / name
            program.write_text(_NOTING.format(real=real / name, name=name, notes=self._notes))
            program.chmod(0o755)

    def used(self, name: str = "") -> list[Used]:
        """Return what was noted so far; of one command, if it is named."""
        notes = (json.loads(line) for line in self._notes.read_text().splitlines())
        found = [Used(each["name"], tuple(each["argv"]), each["rss_mb"], each["cpu_s"]) for each in notes]
        return [each for each in found if name in ("", each.name)]
