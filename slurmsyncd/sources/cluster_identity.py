"""Whether the Slurm that answers is the cluster that the configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from slurmsyncd.errors import SourceUnavailable
from slurmsyncd.slurm.scalars import printable
from slurmsyncd.sources.discovery import discover_with, known_clusters
from slurmsyncd.sources.executors.local import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slurmsyncd.sources.slurm_cli import SlurmCli

_SHOWN = 20
"""Names of clusters in a message at most."""


class ClusterIdentity:
    """
    Knows, once Slurm has said so, that its answers are those of the cluster that is wanted.

    Under a wrong name runs would be told of another cluster, and sacct would give nothing with exit code 0
    for one that slurmdbd does not know, as if nothing had ended. So no listing is believed, and no empty
    answer of sacct, before the name is known to be right. Each row of sacct carries it; where there is none,
    Slurm is asked: one command, until it has answered.

    The controller alone can say of which cluster slurm.conf is. While it does not answer, accounting is asked
    for by name, and slurmdbd says whether it knows that name. This proves nothing of a listing.

    Args:
        cluster: The section's name.
        remote: Asked for with ``-M``.

    Attributes:
        by_name: Whether sacct has to be given the name of the cluster.
    """

    def __init__(self, cluster: str, commands: SlurmCli, *, remote: bool) -> None:
        self._cluster = cluster
        self._commands = commands
        self._remote = remote
        self._known = False
        self.by_name = False
        self._asking = anyio.Lock()  # both halves of a look want to know at once

    def learn(self, own: int, strangers: Iterable[str]) -> None:
        """
        Learn from rows of sacct, which carry their cluster's name.

        Args:
            own: Rows of our cluster.
            strangers: Names of others.

        Raises:
            SourceUnavailable: All rows are another cluster's.
        """
        if own:
            self._known = self._known or not self.by_name
        elif found := sorted(strangers):
            # slurm.conf is another one than it was: the controller is that cluster's, too.
            self._known = False
            raise SourceUnavailable(self._wrong_conf(found[0]))

    @property
    def is_confirmed(self) -> bool:
        """Whether the controller's answers are those of the cluster, as far as Slurm has said so."""
        return self._known

    async def confirm(self) -> None:
        """
        Require that the controller's answers are those of the cluster.

        Raises:
            SourceUnavailable: They are not, or Slurm does not say.
        """
        async with self._asking:
            if not self._known:
                await (self._ask_slurmdbd() if self._remote else self._ask_controller())
                self._known, self.by_name = True, False

    async def confirm_accounting(self) -> None:
        """
        Require that an empty answer of sacct is one about the cluster.

        Raises:
            SourceUnavailable: It is not, or neither slurmctld nor slurmdbd says.
        """
        if self.by_name:
            return
        try:
            await self.confirm()
        except CommandFailed:
            if self._remote:
                raise
            await self._ask_slurmdbd()
            self.by_name = True

    async def _ask_controller(self) -> None:
        found = (await discover_with(self._commands)).cluster
        if found != self._cluster:
            raise SourceUnavailable(self._wrong_conf(found))

    async def _ask_slurmdbd(self) -> None:
        names = await known_clusters(self._commands)
        if self._cluster not in names:
            known = ", ".join(printable(name) for name in names[:_SHOWN]) or "none"
            raise SourceUnavailable(
                f"clusters.{self._cluster}: slurmdbd knows no cluster of this name, it knows: {known}; "
                "name the section as Slurm names the cluster, or correct its slurm_conf"
            )

    def _wrong_conf(self, found: str) -> str:
        found = printable(found)
        return (
            f"clusters.{self._cluster}: its slurm.conf is that of cluster {found}; "
            f"name the section clusters.{found} (what the backend calls it is backend_name), "
            "or set its slurm_conf, or ask for it by name with remote = true"
        )
