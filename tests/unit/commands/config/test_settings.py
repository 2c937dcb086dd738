"""Showing, writing and importing settings."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from slurmsyncd.cli import main
from slurmsyncd.commands.config.example import example
from slurmsyncd.commands.config.globs import globs_of
from slurmsyncd.commands.config.import_cc_slurm_adapter import import_settings
from slurmsyncd.commands.config.show import config_lines
from slurmsyncd.commands.config.toml_writer import value_text
from slurmsyncd.config import load_config
from slurmsyncd.config import toml as tomllib

if TYPE_CHECKING:
    from pathlib import Path

#: Every key of its documentation.
OLD: dict[str, Any] = {
    "pidFilePath": "/run/cc-slurm-adapter/daemon.pid",
    "prepSockListenPath": "tcp:127.0.0.1:12345",
    "prepSockConnectPath": "tcp:slurm.example:12345",
    "lastRunPath": "/var/lib/cc-slurm-adapter/last_run",
    "slurmPollInterval": 30,
    "slurmQueryDelay": 0,
    "slurmQueryMaxSpan": 86400,
    "slurmMaxRetries": 5,
    "ccPollInterval": 21600,
    "ccRestUrl": "https://cc.example/",
    "ccRestJwt": "canary-jwt",
    "gpuPciAddrs": {"^gpu0[0-9]$": ["00000000:00:10.0", "00000000:00:3F.0"]},
    "ignoreHosts": r"^login\w+$",
    "natsServer": "nats.example",
    "natsPort": 4333,
    "natsSubject": "mysubject",
    "natsUser": "me",
    "natsPassword": "canary-password",
}


def test_the_example_is_sound_and_has_every_setting() -> None:
    """As written it is a configuration; with all its settings uncommented it is the same one."""
    text = example()
    plain = load_config(tomllib.parse(text))
    told = "\n".join(line.removeprefix("# ") if _is_setting(line) else line for line in text.splitlines())
    tables = tomllib.parse(told)
    nats = [key for key, value in tables["sinks"]["monitoring"].items() if key not in _given(text)]
    everything = {**tables, "sinks": {"monitoring": tables["sinks"]["monitoring"]}}
    assert len(nats) > 20
    assert load_config(everything).daemon == plain.daemon
    assert load_config(everything).sinks == plain.sinks


def _given(text: str) -> set[str]:
    return set(tomllib.parse(text)["sinks"]["monitoring"])


def _is_setting(line: str) -> bool:
    return line.startswith("# [") or (
        line.startswith("# ") and " = " in line and " " not in line[2:].split(" = ", maxsplit=1)[0]
    )


def test_what_is_shown_reads_back_the_same() -> None:
    """The output of `config show` is a configuration file that says the same, odd names and all."""
    config = load_config(
        {
            "sinks": {"a.b": {"url": "https://x.example", "token_file": "/t", "timeout": 0.5}},
            "clusters": {
                "c": {
                    "ignore_hosts": ["a*", 'q"\\'],
                    "hwthreads": {"n*": [[0, 16], [1, 17]]},
                    "gpus": {"n[1-2]": ["x"]},
                }
            },
        }
    )
    assert load_config(tomllib.parse("\n".join(config_lines(config, None)))) == config


def test_origins_are_those_of_the_last_who_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A default, a file, a file in config.d, the environment and the command line are told apart."""
    file = tmp_path / "config.toml"
    file.write_text(
        "[daemon]\npoll_interval = 10\nquery_delay = 2\noverlap = 7\nmax_span = 5000\n"
        '[sinks.cc]\nurl = "http://localhost"\ntoken_file = "/t"\n'
    )
    (tmp_path / "config.d").mkdir()
    (tmp_path / "config.d" / "more.toml").write_text("[daemon]\nquery_delay = 3\n")
    monkeypatch.setenv("SLURMSYNCD_DAEMON__OVERLAP", "8")
    argv = ["config", "show", "--config", str(file), "--set", "daemon.max_span=6000"]
    assert main([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["daemon.poll_interval"] == {"value": 10.0, "origin": str(file)}
    assert found["daemon.query_delay"] == {"value": 3.0, "origin": str(tmp_path / "config.d" / "more.toml")}
    assert found["daemon.overlap"] == {"value": 8.0, "origin": "SLURMSYNCD_DAEMON__OVERLAP"}
    assert found["daemon.max_span"] == {"value": 6000.0, "origin": "--set"}
    assert found["daemon.log_level"] == {"value": "info", "origin": "default"}
    assert found["sinks.cc.url"]["origin"] == str(file)
    assert main([*argv, "--origin"]) == 0
    assert "# SLURMSYNCD_DAEMON__OVERLAP" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("regex", "globs"),
    [
        ("^node0[0-9]$", ("node0[0-9]",)),
        (r"^node9\w+$", ("node9?*",)),
        (r"^n\d{2}$", ("n[0-9][0-9]",)),
        ("gpu", ("*gpu*",)),
        ("^(login|head)1$", ("login1", "head1")),
        ("^a$|^b.*$", ("a", "b*")),
        (r"^n1\.example$", ("n1.example",)),
        ("^n[^a]$", None),
        ("^n{2,3}$", None),
        ("^(a(b|c))$", None),
        ("(?i)node", None),
        ("^n1+$", None),
    ],
)
def test_regular_expressions_become_globs_or_nothing(regex: str, globs: tuple[str, ...] | None) -> None:
    """What a glob can say is said; the rest is left to the operator and never guessed."""
    assert globs_of(regex) == globs


def test_every_key_of_the_ancestor_is_taken_over() -> None:
    """Numbers, paths, addresses, GPUs, hosts, REST and NATS; what differs is said, secrets go to files."""
    found = import_settings(OLD, cluster="alpha", secret_dir="/etc/slurmsyncd")
    assert found.not_imported == []
    text = found.toml("config.json")
    config = load_config(tomllib.parse(text))
    assert (config.daemon.poll_interval, config.daemon.query_delay, config.daemon.max_span) == (30, 1, 86400)
    assert str(config.daemon.lastrun_file) == "/var/lib/cc-slurm-adapter/last_run"
    assert (config.hook.socket, config.hook.listen) == ("", ("tcp:127.0.0.1:12345",))
    rest, nats = config.sinks["monitoring"], config.sinks["nats"]
    assert (rest.url, rest.token_file, rest.audit_interval) == (
        "https://cc.example",
        "/etc/slurmsyncd/token",
        21600,
    )
    assert (nats.type, nats.servers, nats.format) == ("nats", ("nats://nats.example:4333",), "cc")
    assert (nats.job_subject, nats.user) == ("mysubject", "me")
    assert config.clusters["alpha"].gpus == {"gpu0[0-9]": ("00000000:00:10.0", "00000000:00:3F.0")}
    assert config.clusters["alpha"].ignore_hosts == ("login?*",)
    assert found.secrets == {"token": "canary-jwt", "nats-password": "canary-password"}
    assert "canary" not in text + repr(found)
    assert any("api-subjects" in note and "[sinks.nats]" in note for note in found.notes)
    notes = " ".join(found.notes)
    assert all(
        word in notes for word in ("slurmMaxRetries", "prepSockListenPath", "ccPollInterval", "natsPassword")
    )


@pytest.mark.parametrize(
    ("address", "socket", "listen"),
    [
        ("/run/x.sock", "unix:/run/x.sock", ()),
        ("unix:/run/x.sock", "unix:/run/x.sock", ()),
        ("tcp:0.0.0.0:12345", "", ("tcp:0.0.0.0:12345",)),
        ("tcp:[::1]:12345", "", ("tcp:[::1]:12345",)),
        ("tcp:[::]:12345", "", ("tcp:0.0.0.0:12345", "tcp:[::]:12345")),
        ("tcp::12345", "", ("tcp:0.0.0.0:12345", "tcp:[::]:12345")),
    ],
)
def test_the_socket_in_all_its_forms(address: str, socket: str, listen: tuple[str, ...]) -> None:
    """A path, with and without its prefix, and TCP on one address, on all, and on both families."""
    found = import_settings({**OLD, "prepSockListenPath": address}, cluster="alpha", secret_dir="/s")
    config = load_config(tomllib.parse(found.toml("x")))
    assert (config.hook.socket, config.hook.listen) == (socket, listen)


def test_what_cannot_be_taken_over_is_named() -> None:
    """Wrong types, unknown keys, expressions that are no globs, a missing cluster: nothing is guessed or dropped."""
    old = {
        "slurmPollInterval": "sixty",
        "fleetUrl": "x",
        "ignoreHosts": "^(a(b|c))$",
        "gpuPciAddrs": {"^n[^1]$": ["x"], "^m$": "y", "^g$": ["z"]},
        "prepSockListenPath": "udp:1",
    }
    found = import_settings(old, cluster="", secret_dir="/s")
    text = " ".join(found.not_imported)
    for word in ("slurmPollInterval", "fleetUrl", "ignoreHosts", "^n[^1]$", "^m$", "udp:1", "NAME"):
        assert word in text
    assert found.toml("x").count("NOT TAKEN OVER") == len(found.not_imported)


def test_rest_switched_off_leaves_nats_with_the_audit() -> None:
    """ccRestSubmitJobs = false: one sink, of NATS, that keeps url and token for the audit."""
    found = import_settings({**OLD, "ccRestSubmitJobs": False}, cluster="alpha", secret_dir="/s")
    assert [path for path in found.sections if path[0] == "sinks"] == [("sinks", "nats")]
    assert found.sections["sinks", "nats"]["url"] == "https://cc.example"
    assert load_config(tomllib.parse(found.toml("x"))).sinks["nats"].type == "nats"


def test_x9_imported_secrets_are_for_their_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command writes files of mode 0600 for secrets, prints none, and overwrites nothing."""
    source, to = tmp_path / "old.json", tmp_path / "new"
    source.write_text(json.dumps(OLD))
    argv = ["config", "import", str(source), "--to", str(to), "--cluster", "alpha"]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "canary" not in said.out + said.err
    assert (to / "token").read_text() == "canary-jwt\n"
    assert {stat.S_IMODE((to / name).stat().st_mode) for name in ("token", "nats-password")} == {0o600}
    assert main(["config", "check", "--config", str(to / "config.toml")]) == 0
    assert main(argv) == 78
    assert "move it away" in capsys.readouterr().err


def test_x8_a_file_that_is_no_json_is_refused_without_quoting_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file and shows nothing of what is in it."""
    source = tmp_path / "old.json"
    source.write_text('{"ccRestJwt": "canary')
    assert main(["config", "import", str(source)]) == 78
    said = capsys.readouterr()
    assert "not JSON" in said.err
    assert "canary" not in said.out + said.err


def test_init_writes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there is left alone."""
    file = tmp_path / "config.toml"
    assert main(["config", "init", str(file)]) == 0
    assert main(["config", "check", "--config", str(file)]) == 0
    file.write_text("mine")
    assert main(["config", "init", str(file)]) == 78
    assert file.read_text() == "mine"
    assert main(["config", "init"]) == 0
    assert "[sinks.monitoring]" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["", 'a"b', "tab\there", "new\nline", "\x7f\x00", "ünï☃", "\\", "\u2028"])
def test_texts_of_all_kinds_read_back(value: str) -> None:
    """Whatever is written as TOML reads back the same."""
    assert tomllib.parse(f"x = {value_text(value)}")["x"] == value


def test_a_credential_that_only_the_service_may_have_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config check` accepts the name of a credential, and says which line of the unit it needs if it is not there."""
    path, tables = tmp_path / "config.toml", '[sinks.cc]\nurl = "http://127.0.0.1:9"\ntoken_file = "token"\n'
    path.write_text(tables)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert main(["config", "check", "--config", str(path)]) == 0
    assert "note: sinks.cc.token_file = token: no such systemd credential" in capsys.readouterr().out
    (tmp_path / "token").write_text("a.b.c")
    assert main(["config", "check", "--config", str(path)]) == 0
    assert "note" not in capsys.readouterr().out


#: As its README and its tutorial have them, but for the values of secrets.
MONITORING = {"ccRestUrl": "https://monitoring.example", "ccRestJwt": "canary-jwt"}
LASTRUN = "/var/lib/cc-slurm-adapter/lastrun"
SITE_NATS = {
    "natsServer": "monitoring.example",
    "natsSubject": "woody",
    "natsUser": "woody",
    "natsPassword": "canary-password",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "readme": {
        "pidFilePath": "/run/cc-slurm-adapter/daemon.pid",
        "prepSockListenPath": "/run/cc-slurm-adapter/daemon.sock",
        "prepSockConnectPath": "/run/cc-slurm-adapter/daemon.sock",
        "lastRunPath": "/var/lib/cc-slurm-adapter/last_run",
        "slurmPollInterval": 60,
        "slurmQueryDelay": 1,
        "slurmQueryMaxSpan": 604800,
        "slurmQueryMaxRetries": 5,
        "ccPollInterval": 21600,
        "ccRestSubmitJobs": True,
        **MONITORING,
        "gpuPciAddrs": {
            "^nodehostname0[0-9]$": ["00000000:00:10.0", "00000000:00:3F.0"],
            "^nodehostname1[0-9]$": ["00000000:00:10.0", "00000000:00:3F.0"],
        },
        "ignoreHosts": r"^nodehostname9\w+$",
        "natsServer": "mynatsserver.example",
        "natsPort": 4222,
        "natsSubject": "mysubject",
        "natsUser": "myuser",
        "natsPassword": "canary-password",
        "natsCredsFile": "/etc/cc-slurm-adapter/nats.creds",
        "natsNKeySeedFile": "/etc/ss-slurm-adapter/nats.nkey",
    },
    "minimum": MONITORING,
    "defaults": {
        **MONITORING,
        "pidFilePath": "/run/cc-slurm-adapter/daemon.pid",
        "lastRunPath": LASTRUN,
        "slurmMaxRetries": 10,
        "slurmMaxConcurrent": 10,
        "ccRestSubmitJobs": True,
        "natsPort": 4222,
        "natsSubject": "jobs",
    },
    "gpus": {
        **MONITORING,
        "gpuPciAddrs": {"^node[0-9]{3}$": ["00000000:01:00.0", "00000000:25:00.0", "00000000:41:00.0"]},
    },
    "ignored hosts": {**MONITORING, "ignoreHosts": "^viznode1$"},
    "NATS alone": {**MONITORING, "ccRestSubmitJobs": False, **SITE_NATS, "natsPort": 4222},
    "every address": {**MONITORING, "prepSockListenPath": "tcp::12345", "prepSockConnectPath": "tcp:::12345"},
    "woody": {
        **MONITORING,
        "lastRunPath": LASTRUN,
        "slurmPollInterval": 300,
        "slurmQueryMaxSpan": 86400,
        **SITE_NATS,
    },
    "fritz": {
        **MONITORING,
        "lastRunPath": LASTRUN,
        "slurmPollInterval": 300,
        "ignoreHosts": "^viznode1$",
        **SITE_NATS,
        "gpuPciAddrs": {r"^gpunode\d+$": ["00000000:CE:00.0", "00000000:CF:00.0"]},
    },
    "alex": {
        **MONITORING,
        "lastRunPath": LASTRUN,
        "slurmPollInterval": 300,
        **SITE_NATS,
        "gpuPciAddrs": {
            r"^(a0[1-4]\d\d|a052\d|a162\d|a172\d)$": ["00000000:01:00.0", "00000000:25:00.0"],
            r"^(a0[6-9]\d\d|a053\d)$": ["00000000:0E:00.0", "00000000:13:00.0"],
        },
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_cc_slurm_adapter_publishes_is_imported_whole(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each configuration of its README and tutorial is imported with exit status 0, and is a sound one."""
    commands = tmp_path / "bin"
    commands.mkdir()
    scontrol = commands / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'ClusterName             = alex'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    source, to = tmp_path / "config.json", tmp_path / "new"
    source.write_text(json.dumps(PUBLISHED[name]))
    assert main(["config", "import", str(source), "--to", str(to)]) == 0
    said = capsys.readouterr()
    assert "NOT TAKEN OVER" not in said.out
    assert "canary" not in said.out + said.err
    config = load_config(tomllib.parse((to / "config.toml").read_text()))
    assert config.sinks
    assert set(config.clusters) <= {"alex"}
    assert config.slurm.job_script


def test_a_cluster_that_slurm_does_not_name_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Slurm the import ends with 1 and names the option; with the option it ends with 0."""
    monkeypatch.setenv("PATH", "/nonexistent")
    source = tmp_path / "config.json"
    source.write_text(json.dumps(PUBLISHED["fritz"]))
    assert main(["config", "import", str(source)]) == 1
    assert "--cluster" in capsys.readouterr().out
    assert main(["config", "import", str(source), "--cluster", "fritz"]) == 0


def test_of_several_ways_to_log_in_one_is_kept() -> None:
    """NATS takes one; the README's example has three, and those that are left out are named."""
    found = import_settings(PUBLISHED["readme"], cluster="alpha", secret_dir="/s")
    sink = load_config(tomllib.parse(found.toml("x"))).sinks["nats"]
    assert (sink.creds_file, sink.nkey_seed_file, sink.user, sink.password_file) == (
        "/etc/cc-slurm-adapter/nats.creds", "", "", "",
    )  # fmt: skip
    assert sum("left out" in note for note in found.notes) == 3
    assert "nats-password" not in found.secrets
