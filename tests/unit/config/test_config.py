"""Reading the configuration: layers, types, and every mistake at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurmsyncd.config import Config, SinkConfig, load_config, read_config
from slurmsyncd.config.reference import settings_table
from slurmsyncd.errors import ConfigError
from tests.paths import ROOT

SINK = {"url": "https://cc.example.org", "token_file": "token"}
CANARY = "s3cr3t-canary"
KEYS = st.sampled_from(
    ["daemon", "slurm", "hook", "sinks", "clusters", "cc", "url", "name", "overlap", "socket"]
)
CONFIGURATION = ROOT / "docs/configuration.md"


def problems(tree: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(tree)
    return caught.value.problems


def sink(**more: Any) -> dict[str, Any]:
    return {"sinks": {"cc": {**SINK, **more}}}


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


class TestLayers:
    def test_nothing_gives_the_defaults(self) -> None:
        """A daemon without settings is a valid one."""
        assert read_config(None, {}) == Config()

    def test_later_wins(self, tmp_path: Path) -> None:
        """Defaults < file < config.d in order < environment < --set, key by key."""
        file = write(
            tmp_path / "config.toml", "[daemon]\npoll_interval=1\noverlap=1\nmax_span=10\nquery_delay=1"
        )
        write(tmp_path / "config.d" / "20.toml", "[daemon]\nmax_span=30\nquery_delay=3")
        write(tmp_path / "config.d" / "10.toml", "[daemon]\noverlap=2\nmax_span=20")
        write(tmp_path / "config.d" / "30.toml.bak", "[daemon]\noverlap=99")
        environment = {"SLURMSYNCD_DAEMON__QUERY_DELAY": "4", "SLURMSYNCD_HOME": "/x", "PATH": "/bin"}
        config = read_config(file, environment, ["daemon.query_delay=5", "daemon.log_level=debug"]).daemon
        assert (config.poll_interval, config.overlap, config.max_span, config.query_delay) == (1, 2, 30, 5)
        assert (config.log_level, config.log_format) == ("debug", "auto")

    def test_the_environment_alone_reaches_every_kind_of_value(self) -> None:
        """Texts need no quotes and lists of texts no brackets; the rest is as in TOML."""
        config = read_config(
            None,
            {
                "SLURMSYNCD_SINKS__CC__URL": "https://cc.example.org",
                "SLURMSYNCD_SINKS__CC__TOKEN_FILE": "token",
                "SLURMSYNCD_SINKS__CC__INSECURE_HTTP": "true",
                "SLURMSYNCD_HOOK__ALLOW_USERS": "1000, slurm",
                "SLURMSYNCD_SLURM__BATCH": "7",
                "SLURMSYNCD_DAEMON__STATE_DIR": "/srv/x",
                "SLURMSYNCD_CLUSTERS__ALPHA__HWTHREADS": '{"n*" = [[0, 8], [1, 9]]}',
            },
        )
        assert config.sinks["cc"].insecure_http
        assert config.hook.allow_users == ("1000", "slurm")
        assert (config.slurm.batch, config.daemon.state_dir) == (7, Path("/srv/x"))
        assert config.clusters["alpha"].hwthreads == {"n*": ((0, 8), (1, 9))}

    def test_the_environment_finds_a_section_whatever_its_case(self, tmp_path: Path) -> None:
        """Names of variables are in capitals, Slurm's clusters need not be."""
        file = write(tmp_path / "config.toml", "[clusters.Alex]\nstrip_domain = true")
        config = read_config(file, {"SLURMSYNCD_CLUSTERS__ALEX__BACKEND_NAME": "alex"})
        assert [(c.name, c.backend_name, c.strip_domain) for c in config.clusters.values()] == [
            ("Alex", "alex", True)
        ]

    def test_a_section_knows_its_name_dots_and_all(self) -> None:
        """The name of a table is no path."""
        assert load_config({"clusters": {"a.b": {}}}).clusters["a.b"].name == "a.b"

    def test_defaults_are_nobodys_to_change(self) -> None:
        """Two configurations share no table, and no section can be assigned to."""
        assert Config().clusters is not Config().clusters
        with pytest.raises(dataclasses.FrozenInstanceError):
            Config().daemon.overlap = 1  # type: ignore[misc]


class TestMistakes:
    def test_all_are_reported_at_once_with_path_value_and_what_is_allowed(self, tmp_path: Path) -> None:
        """From the file, from config.d, from the environment and the command line, and from the rules."""
        file = write(
            tmp_path / "config.toml", '[daemon]\npoll_intervall = 3\noverlap = "x"\nlog_level = "loud"'
        )
        write(tmp_path / "config.d" / "a.toml", "= no toml")
        with pytest.raises(ConfigError) as caught:
            read_config(file, {"SLURMSYNCD_DAEMON__NOPE": "1"}, ["slurm.batch=-1", "slurm"])
        found = caught.value.problems
        expected = [
            "a.toml: no TOML: ",
            "SLURMSYNCD_DAEMON__NOPE: no such setting",
            "--set: section.key=value is wanted",
            "daemon.poll_intervall: unknown; did you mean poll_interval?",
            "daemon.overlap = 'x': a number is wanted",
            "slurm.batch = -1: must be more than 0",
            "daemon.log_level = 'loud': one of debug, info, warning, error is wanted",
        ]
        assert len(found) == len(expected)
        assert all(any(each in line for line in found) for each in expected), found

    def test_an_unknown_key_without_a_near_one_lists_what_is_known(self) -> None:
        """In its own section."""
        (line,) = problems({"slurm": {"zzz": 1}})
        assert line.startswith("slurm.zzz: unknown; known here: batch, bin_dir, ")

    @pytest.mark.parametrize("tree", [{"name": "x"}, {"sinks": {"cc": {**SINK, "name": "x"}}}])
    def test_a_name_is_no_setting(self, tree: dict[str, Any]) -> None:
        """The table's name is."""
        assert "unknown" in problems(tree)[0]

    @pytest.mark.parametrize(
        ("section", "key", "value", "wanted"),
        [
            ("daemon", "poll_interval", True, "a number is wanted"),
            ("daemon", "poll_interval", float("nan"), "a number is wanted"),
            ("daemon", "poll_interval", float("inf"), "a number is wanted"),
            ("daemon", "poll_interval", 10**400, "a number is wanted"),
            ("daemon", "poll_interval", 0, "must be more than 0"),
            ("daemon", "max_span", 1e12, "must be at most 316224000"),
            ("slurm", "output_limit", 2**62, "must be at most 1048576"),
            ("slurm", "batch", 2**31, "must be at most 10000"),
            ("daemon", "state_dir", "", "an absolute path is wanted"),
            ("daemon", "state_dir", "state", "an absolute path is wanted"),
            ("daemon", "overlap", 10**9, "less than daemon.max_span is wanted"),
            ("slurm", "batch", 1.5, "a whole number is wanted"),
            ("slurm", "batch", True, "a whole number is wanted"),
            ("slurm", "batch", 2**63, "at most 64 bits"),
            pytest.param("slurm", "batch", 1 << 100_000, "at most 64 bits", id="batch-endless"),
            pytest.param(
                "daemon", "poll_interval", 1 << 100_000, "a number is wanted", id="interval-endless"
            ),
            ("slurm", "slice", 0.5, "at least 1 is wanted"),
            ("slurm", "job_script", "yes", "true or false is wanted"),
            ("slurm", "bin_dir", 3, "text in quotes is wanted"),
            ("hook", "allow_users", "slurm", "a list is wanted"),
            ("hook", "allow_users", [1], "text in quotes is wanted"),
            ("hook", "socket", "/run/x", "unix:/absolute/path is wanted"),
            ("hook", "socket", "unix:/" + "x" * 107, "of at most 107 bytes"),
            ("hook", "listen", ["tcp:host:99999"], "tcp:host:port"),
            ("hook", "listen", ["tcp:::1:9"], "tcp:host:port"),
            ("hook", "listen", ["tcp:a:1"], "hook.secret_file"),
            ("clusters", "alpha", 5, "a table is wanted"),
        ],
    )
    def test_wrong_values_say_what_is_allowed(
        self, section: str, key: str, value: object, wanted: str
    ) -> None:
        """One line each, naming the setting."""
        found = problems({section: {key: value}})
        assert any(wanted in line for line in found)
        assert all(line.startswith(f"{section}.") for line in found)

    @pytest.mark.parametrize("section", ["daemon", "slurm", "hook", "sinks", "clusters"])
    def test_a_section_that_is_no_table(self, section: str) -> None:
        """Also when the environment wants to set something in it."""
        assert any("table" in line for line in problems({section: 5}))
        with pytest.raises(ConfigError):
            read_config(None, {}, [f"{section}=5", f"{section}.x.url=6"])

    def test_a_setting_through_something_that_is_no_table(self, tmp_path: Path) -> None:
        """The file's mistake is reported, and the environment's setting is no crash."""
        file = write(tmp_path / "config.toml", "daemon = 5")
        with pytest.raises(ConfigError, match="daemon: a table is wanted"):
            read_config(file, {"SLURMSYNCD_DAEMON__OVERLAP": "3"})

    def test_a_key_cannot_forge_a_line(self) -> None:
        """Names are escaped, however they are quoted in the file."""
        for line in problems({"daemon": {"x\n\x1b[2J\u202e": 1}, "clusters": {"a\nb": {}}}):
            assert line.isprintable()

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
            max_leaves=12,
        ).filter(lambda tree: isinstance(tree, dict))
    )
    def test_whatever_the_tables_hold_it_is_a_configuration_or_a_config_error(
        self, tree: dict[str, Any]
    ) -> None:
        """Never a traceback, and each problem is one line."""
        assert all(line.isprintable() for line in problems_of(tree))


def problems_of(tree: dict[str, Any]) -> tuple[str, ...]:
    """Return the mistakes in some tables, none if there are none."""
    try:
        load_config(tree)
    except ConfigError as err:
        return err.problems
    return ()


class TestFiles:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        """Named, with what to do."""
        with pytest.raises(
            ConfigError, match=r"nope\.toml: no such file; write one, or name it with --config"
        ):
            read_config(tmp_path / "nope.toml", {})

    def test_a_directory(self, tmp_path: Path) -> None:
        """No traceback."""
        with pytest.raises(ConfigError, match="a file is wanted"):
            read_config(tmp_path, {})

    def test_a_path_that_cannot_be_read(self, tmp_path: Path) -> None:
        """Too long, for one; no permission is the same to us."""
        with pytest.raises(ConfigError, match="must be able to read it"):
            read_config(tmp_path / ("x" * 300), {})

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"a = \xff", "not UTF-8"),
            (b"a =", "no TOML"),
            (b"<html>", "no TOML"),
            (b"a = " + b"[" * 100_000, "no TOML"),
            (b"a = " + b"9" * 10_000, "no TOML"),
        ],
    )
    def test_no_toml(self, tmp_path: Path, content: bytes, problem: str) -> None:
        """One line naming the file."""
        with pytest.raises(ConfigError) as caught:
            read_config(write(tmp_path / "config.toml", content), {})
        (line,) = caught.value.problems
        assert f"config.toml: {problem}" in line


class TestUrl:
    @pytest.mark.parametrize("host", ["cc.example.org", "cc.example.org:8443/base", "[2001:db8::1]"])
    def test_x12_https_is_allowed_anywhere(self, host: str) -> None:
        """With a port and a path, too."""
        assert load_config(sink(url=f"https://{host}")).sinks["cc"].url == f"https://{host}"

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080", "http://127.8.9.1"]
    )
    def test_x12_http_is_allowed_on_this_host(self, url: str) -> None:
        """Nobody listens there."""
        assert load_config(sink(url=url)).sinks["cc"].url == url

    @pytest.mark.parametrize(
        ("url", "problem"),
        [
            ("", "http(s)://host[:port][/path] is wanted"),
            ("file:///etc/passwd", "is wanted"),
            ("cc.example.org", "is wanted"),
            ("https://", "is wanted"),
            ("https://host:99999", "is wanted"),
            ("https://[::1", "is wanted"),
            ("http://cc.example.org", "plain http sends the token in the clear"),
            ("http://127.0.0.1.example.org", "plain http"),
            ("https://cc.example.org\r\nX: y", "only visible ASCII"),
            ("https://cc.exämple.org", "only visible ASCII"),
        ],
    )
    def test_x12_what_is_refused(self, url: str, problem: str) -> None:
        """With the value and the way out."""
        (line,) = problems(sink(url=url))
        assert line.startswith("sinks.cc.url")
        assert problem in line

    def test_x12_plain_http_elsewhere_by_explicit_setting(self) -> None:
        """The operator said so."""
        assert load_config(sink(url="http://cc.example.org", insecure_http=True))


class TestWeb:
    LOCKED = {"cert_file": "/etc/web.pem", "password_file": "/etc/web-password"}  # noqa: RUF012

    @pytest.mark.parametrize("address", ["0.0.0.0:9481", "[::]:9481", "monitor.example.org:9481"])
    def test_another_address_requires_tls_and_a_password(self, address: str) -> None:
        """Metrics leave the host only encrypted and for a password; the missing setting is named."""
        for present in ({}, {"cert_file": "/etc/web.pem"}, {"password_file": "/etc/web-password"}):
            (line,) = problems({**sink(), "web": {"listen": [address], **present}})
            assert f"set web.{'password_file' if 'cert_file' in present else 'cert_file'}" in line
        assert load_config({**sink(), "web": {"listen": [address], **self.LOCKED}})

    @pytest.mark.parametrize(
        ("web", "problem"),
        [
            ({"listen": ["9481"]}, "must be host:port"),
            ({"listen": ["unix:relative"]}, "must be host:port"),
            ({"listen": ["0.0.0.0:99999"], **LOCKED}, "must be host:port"),
            ({"cert_file": "web.pem"}, "must be an absolute path"),
            ({"key_file": "/etc/key.pem"}, "set web.cert_file"),
            ({"user": "a:b"}, "without a colon"),
            ({"password_file": "two words"}, "web.password_file: an absolute path"),
        ],
    )
    def test_what_is_refused(self, web: dict[str, Any], problem: str) -> None:
        """Each mistake is one line with what is required."""
        (line,) = problems({**sink(), "web": web})
        assert problem in line


class TestSecrets:
    @pytest.mark.parametrize(
        "tree",
        [
            sink(url=f"https://user:{CANARY}@cc.example.org"),
            sink(url=f"https:user:{CANARY}@cc.example.org"),
            sink(url=f"http://user:{CANARY}@[::1"),
            sink(url=f"https://cc.example.org/?token={CANARY}"),
            sink(url=f"https://cc.example.org/#{CANARY}"),
            sink(url=[f"https://user:{CANARY}@cc.example.org"]),
            sink(token=CANARY),
            sink(token_file=[CANARY]),
            sink(token_file=f"eyJhbGciOi.eyJzdWIi.{CANARY}"),
            sink(token_file=f"a+b/{CANARY}=="),
            sink(url=CANARY),
            {"hook": {"secret_file": [CANARY]}},
            {"hook": {"secret_file": f"eyJhbGciOi.eyJzdWIi.{CANARY}"}},
            {"hook": {"secret_file": f"a+b/{CANARY}=="}},
            {"hook": {"secret": CANARY}},
        ],
    )
    def test_x8_are_never_shown(self, tree: dict[str, Any]) -> None:
        """Neither a password in a URL nor a token in the wrong place."""
        found = problems(tree)
        assert CANARY not in "".join(found)

    @pytest.mark.parametrize("setting", [CANARY, f"sinks.cc.token={CANARY}", f"daemon.nope={CANARY}"])
    def test_x8_nor_are_those_of_the_command_line(self, setting: str) -> None:
        """An unknown setting's value stays where it is."""
        with pytest.raises(ConfigError) as caught:
            read_config(None, {"SLURMSYNCD_SINKS__CC__TOKEN": CANARY}, [setting])
        assert CANARY not in "".join(caught.value.problems)

    def test_a_token_instead_of_its_file_is_refused(self) -> None:
        """It would end up in messages about a file of that name."""
        (line,) = problems(sink(token_file="eyJhbGciOi.eyJzdWIi.abc"))
        assert line == "sinks.cc.token_file: this is a token; put it into a file, mode 600, and name the file"


class TestReference:
    def test_every_setting_is_in_the_table_with_its_meaning(self) -> None:
        """A field without a comment block would have none."""
        table = settings_table()
        for spec in dataclasses.fields(SinkConfig):
            assert (f"| `[sinks.NAME]` | `{spec.name}` |" in table) == (spec.name != "name")
        assert all(len(line.rstrip(" |").rsplit("|", 1)[1].strip()) > 5 for line in table.splitlines()[2:])

    def test_the_configuration_page_has_this_very_table(self) -> None:
        """The page has the generated table; print it with: python -c 'from slurmsyncd.config.reference import *; print(settings_table())'."""
        assert settings_table() in CONFIGURATION.read_text()
