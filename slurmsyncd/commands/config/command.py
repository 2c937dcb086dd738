"""The commands below ``slurmsyncd config``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurmsyncd.commands.config.example import example
from slurmsyncd.commands.config.import_cc_slurm_adapter import NEED_CLUSTER, Imported, import_settings
from slurmsyncd.commands.config.show import as_document, config_lines
from slurmsyncd.config.load import load_config
from slurmsyncd.config.nats_rules import SECRETS
from slurmsyncd.errors import ConfigError, SourceUnavailable
from slurmsyncd.host.secret_file import read_private
from slurmsyncd.text import safe

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from slurmsyncd.config import Config
    from slurmsyncd.config.load import RawConfig

    ReadTree = Callable[[argparse.Namespace], RawConfig]
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - has no public name


def add_commands(
    commands: Commands, add_options: Callable[[argparse.ArgumentParser], None], read_tree: ReadTree
) -> None:
    """Add check, show, init and import."""
    check = commands.add_parser("check", help="read the configuration and report every mistake in it")
    add_options(check)
    check.set_defaults(run=lambda args: _check(read_tree(args)))
    show = commands.add_parser("show", help="print the whole configuration as it is in force, as TOML")
    add_options(show)
    show.add_argument("--origin", action="store_true", help="say where each value comes from")
    show.add_argument("--json", action="store_true", help="one JSON document, for scripts")
    show.set_defaults(run=lambda args: _show(args, read_tree(args)))
    init = commands.add_parser("init", help="write a commented example of every setting")
    init.add_argument("file", type=Path, nargs="?", help="where to (default: standard output)")
    init.set_defaults(run=_init)
    take = commands.add_parser(
        "import",
        help="turn a cc-slurm-adapter's JSON file into our settings, secrets into files of their own",
    )
    take.add_argument("source", type=Path, metavar="FILE", help="its config.json")
    take.add_argument("--to", type=Path, metavar="DIRECTORY", help="where config.toml and secrets go")
    take.add_argument("--cluster", default="", help="Slurm's name of the cluster (default: Slurm is asked)")
    take.set_defaults(run=_import)


def _check(tree: RawConfig) -> int:
    config = load_config(tree.values, tree.problems)
    sinks, clusters = ", ".join(config.sinks) or "none", ", ".join(config.clusters) or "this host's own"
    print(f"the configuration is sound; sinks: {sinks}; clusters: {clusters}")
    for note in _missing_credentials(config):
        print(f"note: {note}")
    return 0


def _missing_credentials(config: Config) -> Iterator[str]:
    """Yield what is wrong with credentials of systemd's: before its start only the service may have them."""
    named = [("hook.secret_file", config.hook.secret_file)]
    named += [
        (f"sinks.{name}.{key}", getattr(sink, key))
        for name, sink in config.sinks.items()
        for key in ("token_file", *SECRETS)
    ]
    for key, file in named:
        if file and "/" not in file:
            try:
                read_private(file, key=key)
            except ConfigError as err:
                yield str(err)


def _show(args: argparse.Namespace, tree: RawConfig) -> int:
    config = load_config(tree.values, tree.problems)
    if args.json:
        print(json.dumps(as_document(config, tree.origins), indent=2))
    else:
        print("\n".join(config_lines(config, tree.origins if args.origin else None)))
    return 0


def _init(args: argparse.Namespace) -> int:
    if args.file is None:
        print(example(), end="")
    else:
        _write(args.file, example(), 0o644)
        print(f"{args.file}: written; set url and token_file in it, then: slurmsyncd config check")
    return 0


def _import(args: argparse.Namespace) -> int:
    old = _read(args.source)
    cluster = args.cluster or (_own_cluster() if NEED_CLUSTER & old.keys() else "")
    found = import_settings(old, cluster=cluster, secret_dir=str(args.to or "/etc/slurmsyncd"))
    text = found.toml(str(args.source))
    if args.to is None:
        print(text, end="")
        return 1 if found.not_imported else 0
    _write_all(args.to, text, found)
    for note in found.notes:
        print(safe(note))
    for lost in found.not_imported:
        print(f"NOT TAKEN OVER: {safe(lost)}")
    written = args.to / "config.toml"
    print(f"{written}: written; next: slurmsyncd config check --config {written}")
    return 1 if found.not_imported else 0


def _own_cluster() -> str:
    """Return the name of the cluster that this host belongs to, empty if Slurm does not answer."""
    import anyio  # noqa: PLC0415 - heavy, and seldom needed

    from slurmsyncd.config import SlurmConfig  # noqa: PLC0415
    from slurmsyncd.sources.discovery import discover  # noqa: PLC0415

    try:
        return anyio.run(discover, SlurmConfig(command_timeout=10.0)).cluster
    except SourceUnavailable:
        return ""


def _read(source: Path) -> dict[str, Any]:
    try:
        found = json.loads(source.read_text("utf-8"))
    except OSError as err:
        raise ConfigError([f"{source}: {err.strerror}; name cc-slurm-adapter's config.json"]) from err
    except (ValueError, RecursionError) as err:
        # The text of the error may quote a secret.
        raise ConfigError([f"{source}: not JSON; name cc-slurm-adapter's config.json"]) from err
    if not isinstance(found, dict):
        raise ConfigError([f"{source}: not a JSON object; name cc-slurm-adapter's config.json"])
    return found


def _write_all(directory: Path, text: str, found: Imported) -> None:
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, secret in found.secrets.items():
        _write(directory / name, secret + "\n", 0o600)
    _write(directory / "config.toml", text, 0o644)


def _write(path: Path, text: str, mode: int) -> None:
    """Write a new file; one that is there is never overwritten."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except OSError as err:
        raise ConfigError([f"{path}: {err.strerror}; name another place, or move it away"]) from err
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(text)
