"""The examples of each command that are shown by its ``--help`` and in slurmsyncd(1). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from slurmsyncd.console.command_tree import commands

if TYPE_CHECKING:
    import argparse

#: Command → what is added to its help.
_EXAMPLES: Final = {
    "": """\
examples:
  slurmsyncd config init /etc/slurmsyncd/config.toml
  slurmsyncd check                       is everything in place, and if not what to do
  slurmsyncd run --once                  one look by hand
  slurmsyncd status                      how the running daemon is doing
  slurmsyncd job 4711                    what became of this job""",
    "run": """\
exit status:
  0   stopped by a signal; with --once: Slurm answered, and nothing that is due is left
  74  the state on disk cannot be used
  75  another one runs; with --once: Slurm or a sink did not do its part
  78  the configuration is wrong

examples:
  slurmsyncd run
  slurmsyncd run --once --log-level debug
  slurmsyncd run --config ./config.toml --set daemon.poll_interval=30""",
    "config": """\
examples:
  slurmsyncd config init /etc/slurmsyncd/config.toml
  slurmsyncd config check
  slurmsyncd config show --origin""",
    "config check": """\
exit status: 0 the configuration is sound; 78 it is not

examples:
  slurmsyncd config check
  slurmsyncd config check --config ./config.toml""",
    "config show": """\
exit status: 0 shown; 78 the configuration is wrong

examples:
  slurmsyncd config show --origin
  slurmsyncd config show --json | jq .""",
    "config init": """\
examples:
  slurmsyncd config init                 to look at it
  slurmsyncd config init /etc/slurmsyncd/config.toml""",
    "config import": """\
exit status: 0 all was taken over; 1 something was not, and is named; 78 the file cannot be read

examples:
  slurmsyncd config import /etc/cc-slurm-adapter/config.json
  slurmsyncd config import old.json --to /etc/slurmsyncd --cluster alpha""",
    "check": """\
exit status: 0 all is well; 1 something deserves attention; 2 something does not work

examples:
  slurmsyncd check
  slurmsyncd check --json | jq '.findings[] | select(.level == "fail")'""",
    "deadletters list": """\
examples:
  slurmsyncd deadletters list
  slurmsyncd deadletters list --state parked --sink cc""",
    "deadletters show": """\
exit status: 0 shown; 1 there is no such letter

examples:
  slurmsyncd deadletters show 17""",
    "deadletters retry": """\
exit status: 0 they are tried again; 1 none was found

examples:
  slurmsyncd deadletters retry 17 18
  slurmsyncd deadletters retry --reason no_subcluster""",
    "deadletters drop": """\
exit status: 0 they are given up; 1 none was found, or you said no

examples:
  slurmsyncd deadletters drop 17
  slurmsyncd deadletters drop --reason http_400 --older-than 2d --yes""",
    "notify": """\
exit status: always 0, since Slurm requeues or kills a job whose prolog fails

examples:
  slurmsyncd notify --context test --verbose""",
    "backend": """\
exit status: 0 stopped by a signal; 1 it cannot run, and says why

examples:
  slurmsyncd backend --clusters cluster.json --state ./state
  slurmsyncd backend --state ./state token --out ./token""",
    "backend token": """\
examples:
  slurmsyncd backend --state ./state token --days 30 --out ./token""",
    "demo": """\
exit status: 0 no run was lost; 1 one was, or it cannot run

examples:
  slurmsyncd demo
  slurmsyncd demo --duration 30 --rate 5
  slurmsyncd demo --real""",
    "fixtures": """\
examples:
  slurmsyncd fixtures capture ./captured""",
    "fixtures capture": """\
examples:
  slurmsyncd fixtures capture ./captured
  slurmsyncd fixtures capture ./captured --since 86400 --jobs 50 --shift""",
    "verify": """\
examples:
  slurmsyncd verify
  slurmsyncd verify --since 30d --backend
  slurmsyncd verify --since 2026-01-01 --until 2026-01-31 --repair""",
    "backfill": """\
examples:
  slurmsyncd backfill --from 90d --dry-run
  slurmsyncd backfill --from 2026-01-01 --to 2026-01-31 --rate 600""",
    "relay": """\
exit status: 0 stopped by a signal; 75 another one runs; 78 the configuration is wrong

examples:
  slurmsyncd relay --config /etc/slurmsyncd/relay.toml
  slurmsyncd relay --from events --to backend --pid-file /run/slurmsyncd/relay2.pid""",
    "man": """\
examples:
  slurmsyncd man | man -l -
  slurmsyncd man 5 >/usr/local/share/man/man5/slurmsyncd.toml.5""",
    "completion": """\
examples:
  slurmsyncd completion bash >/etc/bash_completion.d/slurmsyncd
  slurmsyncd completion zsh >/usr/local/share/zsh/site-functions/_slurmsyncd""",
}


def add_examples(parser: argparse.ArgumentParser) -> None:
    """Return each command its examples, behind what it says itself."""
    for command in commands(parser):
        more = _EXAMPLES.get(" ".join(command.path), "")
        command.parser.epilog = "\n\n".join(filter(None, (command.parser.epilog, more)))
