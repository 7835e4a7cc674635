"""Where settings come from, which wins, and what is said about the wrong ones."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, TypeAdapter

from bot.config import Loaded, NestedModel, Rate, Settings, load, shown
from bot.config_types import EgressEntry, Size
from bot.errors import ConfigError

RATE: TypeAdapter[int | None] = TypeAdapter(Rate)
SIZE: TypeAdapter[int] = TypeAdapter(Size)
EGRESS: TypeAdapter[str] = TypeAdapter(EgressEntry)


class Mail(NestedModel):
    """A dictionary among the settings."""

    host: str = "localhost"
    port: int = Field(25, ge=1, description="Where it listens.")
    password: SecretStr | None = None


class Limits(NestedModel):
    """A dictionary without secrets."""

    most: int = 5


class WithGroups(Settings):
    """The settings, and two dictionaries."""

    mail: Mail = Mail()
    limits: Limits = Limits()


def wrong(directory: Path, kind: type[Settings] = Settings, **environ: str) -> str:
    """What the start is stopped with."""
    with pytest.raises(ConfigError) as caught:
        load(environ, directory, kind=kind)
    return str(caught.value)


def groups(directory: Path, **environ: str) -> WithGroups:
    """The settings with dictionaries."""
    settings = load(environ, directory, kind=WithGroups).settings
    assert isinstance(settings, WithGroups)
    return settings


def origin(loaded: Loaded, name: str) -> str:
    """Where ``mltb config`` says that a setting came from."""
    return {row[0]: row[2] for row in loaded.rows()}[name]


# Which source wins


def test_each_source_wins_over_those_below_it(tmp_path: Path) -> None:
    names = ["WEB_PORT", "MAX_ACTIVE", "RETRY_ATTEMPTS", "HTTP_USER_AGENT"]
    (tmp_path / "config.py").write_text("WEB_PORT = MAX_ACTIVE = RETRY_ATTEMPTS = 11\n")
    (tmp_path / ".env").write_text("WEB_PORT=12\nexport MAX_ACTIVE='12' # more\n\n# remark\n")
    environ = {"WEB_PORT": "13"}
    loaded = load(environ, tmp_path)
    found = loaded.settings
    assert (found.web_port, found.max_active, found.retry_attempts) == (13, 12, 11)
    assert found.http_user_agent == "mltb"
    origins = [origin(loaded, name) for name in names]
    assert origins == ["environment", ".env", "config.py", "default"]
    loaded = load(environ, tmp_path, {"web_port": 14})
    assert (loaded.settings.web_port, origin(loaded, "WEB_PORT")) == (14, "command line")


def test_the_real_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_PORT", "4321")
    assert load().settings.web_port == 4321


def test_without_any_source_the_defaults_hold_and_places_are_absolute(tmp_path: Path) -> None:
    loaded = load({}, tmp_path)
    assert loaded.settings.web_port == 8000
    assert loaded.settings.data_dir == Path.cwd() / "data"
    assert loaded.settings.local_roots == [loaded.settings.download_dir]
    assert {row[2] for row in loaded.rows()} == {"default"}


@pytest.mark.parametrize("blank", ["", "   "])
def test_an_empty_value_leaves_the_word_to_the_source_below(tmp_path: Path, blank: str) -> None:
    (tmp_path / "config.py").write_text(f"MAX_ACTIVE = 3\nDATABASE_URL = {blank!r}\n")
    (tmp_path / ".env").write_text(f"MAX_ACTIVE={blank}\nREDIS_URL\n")
    loaded = load({"MAX_ACTIVE": blank, "WEB_PORT": blank}, tmp_path)
    assert (loaded.settings.max_active, origin(loaded, "MAX_ACTIVE")) == (3, "config.py")
    assert (loaded.settings.web_port, origin(loaded, "WEB_PORT")) == (8000, "default")
    assert loaded.settings.database_url is loaded.settings.redis_url is None


def test_values_in_a_dotenv_file_are_not_expanded(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('HTTP_USER_AGENT="${HOME} $HOME"\n')
    assert load({}, tmp_path).settings.http_user_agent == "${HOME} $HOME"


def test_settings_can_not_be_changed(tmp_path: Path) -> None:
    settings = load({}, tmp_path).settings
    with pytest.raises(ValueError, match="frozen"):
        settings.web_port = 1  # type: ignore[misc]


# Unknown names


def test_an_unknown_name_in_a_file_stops_the_start_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEB_PROT=1\nweb_port=2\n")
    (tmp_path / "config.py").write_text("MAX_ACTVE = 1\nQZX = 2\n_MINE = 3\nlower = 4\n")
    said = wrong(tmp_path)
    assert "WEB_PROT (.env): no setting has that name; did you mean WEB_PORT?" in said
    assert "web_port (.env): no setting has that name; did you mean WEB_PORT?" in said
    assert "MAX_ACTVE (config.py): no setting has that name; did you mean MAX_ACTIVE?" in said
    assert "QZX (config.py): no setting has that name; `mltb config` lists" in said
    assert "_MINE" not in said
    assert "lower" not in said


def test_unknown_names_in_the_environment_are_not_ours(tmp_path: Path) -> None:
    settings = load({"WEB_PROT": "1", "web_port": "2", "WEB_PORT__": "3"}, tmp_path).settings
    assert settings.web_port == 8000


def test_a_key_of_a_plain_setting_is_unknown_in_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEB_PORT__X=1\nWEB_PORT__=2\n")
    said = wrong(tmp_path)
    assert "WEB_PORT__X (.env)" in said
    assert "WEB_PORT__ (.env)" in said


# Wrong values


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("WEB_PORT", "http", "valid integer"),
        ("WEB_PORT", "65536", "less than or equal to 65535"),
        ("MAX_ACTIVE", "0", "greater than or equal to 1"),
        ("TORRENT_DHT", "perhaps", "valid boolean"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("RETRY_BASE", "nan", "finite number"),
        ("RETRY_BASE", "inf", "finite number"),
        ("DISK_RESERVE", "much", "such as 10G"),
        ("DISK_RESERVE", "-1", "such as 10G"),
        ("BANDWIDTH_LIMIT", "10X", "such as 10G"),
        ("USER_DAILY_BYTES", "1.2.3M", "such as 10G"),
        ("EGRESS_ALLOW", "good.example, ba_d", "'ba_d' is neither an address, a CIDR nor a host"),
        ("DATA_DIR", "~nobody-has-this-name/x", "home directory"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    tmp_path: Path, name: str, value: str, allowed: str
) -> None:
    said = wrong(tmp_path, Settings, **{name: value})
    assert f"{name} (environment): " in said
    assert repr(value) in said or "'ba_d'" in said
    assert allowed in said


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("NOTHING_SUCH = 1\nMAX_ACTIVE = 0\n")
    (tmp_path / ".env").write_text("this is no assignment\nRETRY_MAX=long\n")
    said = wrong(tmp_path, WEB_PORT="x")
    assert len(said.splitlines()) == 6
    for part in ("NOTHING_SUCH", "MAX_ACTIVE (config.py): 0", "line 1", "RETRY_MAX (.env)"):
        assert part in said
    assert "WEB_PORT (environment): 'x'" in said


def test_log_levels_are_known_in_any_case(tmp_path: Path) -> None:
    assert load({"LOG_LEVEL": "WARNING"}, tmp_path).settings.log_level == "warning"


# config.py is code


def test_config_py_is_code_and_its_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text("import os\nPORTS = [1]\nWEB_PORT = sum([8000, 80])\ndel PORTS\n")
    assert load({}, tmp_path).settings.web_port == 8080
    path.write_text("WEB_PORT = 1 / 0\n")
    assert f"{path}: ZeroDivisionError: division by zero" in wrong(tmp_path)
    path.write_text("WEB_PORT = (\n")
    assert "SyntaxError" in wrong(tmp_path)
    path.write_bytes(b"WEB_PORT = '\xff'\n")
    assert "SyntaxError" in wrong(tmp_path)


def test_config_py_that_others_can_write_is_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "config.py", tmp_path / "was-run"
    path.write_text(f"open({str(mark)!r}, 'w').close()\n")
    path.chmod(0o666)
    assert "another user can write it" in wrong(tmp_path)
    assert not mark.exists()
    path.chmod(0o644)
    load({}, tmp_path)
    assert mark.exists()


def test_directories_under_the_names_of_the_files_are_no_settings(tmp_path: Path) -> None:
    (tmp_path / "config.py").mkdir()
    (tmp_path / ".env").mkdir()
    assert load({}, tmp_path).settings.web_port == 8000


def test_a_dotenv_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"WEB_PORT=\xff\xfe")
    assert f"{tmp_path / '.env'}: can't be read" in wrong(tmp_path)


# Dictionaries


def test_a_dictionary_is_merged_by_key_from_every_source(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text('MAIL["host"] = "a"\nMAIL["port"] = 1\nLIMITS = {}\n')
    (tmp_path / ".env").write_text("MAIL__PORT=2\n")
    loaded = load({"MAIL__PASSWORD": "hush"}, tmp_path, kind=WithGroups)
    mail = groups(tmp_path, MAIL__PASSWORD="hush").mail
    assert (mail.host, mail.port, str(mail.password)) == ("a", 2, "**********")
    rows = {name: (value, where) for name, value, where in loaded.rows()}
    assert rows["MAIL__HOST"] == ("a", "config.py")
    assert rows["MAIL__PORT"] == ("2", ".env")
    assert rows["MAIL__PASSWORD"] == ("***", "environment")
    assert rows["LIMITS__MOST"] == ("5", "default")
    assert "MAIL" not in rows


def test_a_dictionary_can_be_given_whole(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text('MAIL = {"host": "a", "port": 3}\n')
    assert groups(tmp_path).mail.port == 3
    mail = groups(tmp_path, MAIL='{"host": "b"}', MAIL__PORT="4").mail
    assert (mail.host, mail.port) == ("b", 4)
    mail = groups(tmp_path, MAIL__PORT="4", MAIL='{"port": 5}').mail
    assert mail.port == 4
    assert groups(tmp_path, MAIL="", MAIL__PORT=" ").mail.port == 3


@pytest.mark.parametrize("name", ["MAIL__PROT", "MAIL__", "MAIL__PORT__X"])
def test_a_wrong_key_of_a_dictionary_stops_the_start(tmp_path: Path, name: str) -> None:
    said = wrong(tmp_path, WithGroups, **{name: "1"})
    assert f"{name} (environment): no setting has that name" in said
    assert "did you mean MAIL" in said
    (tmp_path / ".env").write_text(f"{name}=1\n")
    assert f"{name} (.env)" in wrong(tmp_path, WithGroups)


def test_a_wrong_key_in_a_whole_dictionary_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text('MAIL["prot"] = 1\nMAIL[5] = 2\n')
    said = wrong(tmp_path, WithGroups, LIMITS='{"mots": 1}')
    assert "MAIL__PROT (config.py): no setting has that name; did you mean MAIL__PORT?" in said
    assert "MAIL__5 (config.py)" in said
    assert "LIMITS__MOTS (environment): no setting has that name; did you mean LIMITS__" in said


def test_a_wrong_value_in_a_dictionary_is_named(tmp_path: Path) -> None:
    said = wrong(tmp_path, WithGroups, MAIL__PORT="0", LIMITS="many")
    assert "MAIL__PORT (environment): '0' is wrong: Input should be greater" in said
    assert "LIMITS (environment): 'many' is wrong: write a dictionary, or LIMITS__KEY" in said


# Secrets


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:hush@db/mltb", "postgresql://me:***@db/mltb"),
        ("postgresql://me:hu/sh@db/mltb", "postgresql://me:***@db/mltb"),
        ("postgresql://me:hu@sh@db/mltb", "postgresql://me:***@db/mltb"),
        ("postgresql://me:hu?sh@db/mltb", "postgresql://me:***@db/mltb"),
        ("postgresql://me:hu:sh@db/mltb", "postgresql://me:***@db/mltb"),
        ("redis://:hush@cache:6379/0", "redis://:***@cache:6379/0"),
        ("redis://hush@cache", "redis://:***@cache"),
        ("postgresql://db/mltb?password=hush", "postgresql://db/mltb?***"),
        ("sqlite:////srv/mltb.db", "sqlite:////srv/mltb.db"),
        ("hush", "***"),
        ("me:hush@db", "***"),
    ],
)
def test_a_secret_url_shows_all_but_its_secrets(tmp_path: Path, url: str, expected: str) -> None:
    loaded = load({"DATABASE_URL": url}, tmp_path)
    assert {row[0]: row[1] for row in loaded.rows()}["DATABASE_URL"] == expected
    assert "hush" not in str(loaded.rows())
    assert "hush" not in repr(loaded)


@given(st.text(min_size=3).filter(lambda text: text not in "postgresql://user:***@host/name"))
def test_no_password_is_ever_shown(password: str) -> None:
    assert password not in shown(SecretStr(f"postgresql://user:{password}@host/name"))


def test_errors_never_hold_a_secret(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(
        'REDIS_URL = ["hush"]\nMAIL = {"password": ["hush"], "port": "x"}\n'
    )
    (tmp_path / ".env").write_text("DATABASE_URL hush\nDATABASE_URI=hush\n")
    said = wrong(tmp_path, WithGroups)
    assert "REDIS_URL (config.py): *** is wrong: Input should be a valid string" in said
    assert "MAIL__PASSWORD (config.py): *** is wrong" in said
    assert "did you mean DATABASE_URL?" in said
    assert "hush" not in said
    assert "hush" not in wrong(tmp_path, WithGroups, MAIL="hush")


# Kinds of values


def test_lists_are_split_and_places_made_absolute(tmp_path: Path) -> None:
    environ = {"LOCAL_ROOTS": " /a :: b:~/c ", "HOME": "/h", "RCLONE_CONFIG": "x/rclone.conf"}
    settings = load(environ, tmp_path).settings
    assert settings.local_roots == [Path("/a"), Path.cwd() / "b", Path.home() / "c"]
    assert settings.rclone_config == Path.cwd() / "x/rclone.conf"
    (tmp_path / "config.py").write_text('LOCAL_ROOTS = ["/a", "/b"]\nEGRESS_ALLOW = ["::1"]\n')
    loaded = load({}, tmp_path)
    assert loaded.settings.local_roots == [Path("/a"), Path("/b")]
    assert loaded.settings.egress_allow == ["::1/128"]
    assert {row[0]: row[1] for row in loaded.rows()}["LOCAL_ROOTS"] == "/a:/b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", "127.0.0.1/32"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("fd00::5/8", "fd00::/8"),
        ("NAS.Example.Org.", "nas.example.org"),
        ("*.example.org", "*.example.org"),
        ("localhost", "localhost"),
    ],
)
def test_egress_entries_have_one_form(text: str, expected: str) -> None:
    assert EGRESS.validate_python(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "127.1", "1.2.3.4.5", "10.0.0.0/33", "host:80", "http://h", "*", "a b", "*.*.a", "-a"],
)
def test_garbage_is_no_egress_entry(text: str) -> None:
    with pytest.raises(ValueError, match="neither an address"):
        EGRESS.validate_python(text)


@given(st.ip_addresses())
def test_every_address_is_an_egress_entry(address: ipaddress.IPv4Address) -> None:
    network = ipaddress.ip_network(EGRESS.validate_python(str(address)))
    assert list(network) == [address]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", 10),
        ("10b", 10),
        ("10K", 10 * 1024),
        ("10k", 10 * 1024),
        ("1.5 MiB", 1024 * 1536),
        (".5G", 512 * 1024**2),
        ("2T", 2 * 1024**4),
        ("10MB", 10_000_000),
        ("9007199254740993", 9_007_199_254_740_993),
        (7, 7),
    ],
)
def test_sizes(text: object, expected: int) -> None:
    assert SIZE.validate_python(text) == expected
    assert RATE.validate_python(text) == expected


@pytest.mark.parametrize("value", ["off", "OFF", "none", "", "0", "0K", 0, None])
def test_no_rate_is_no_limit(value: object) -> None:
    assert RATE.validate_python(value) is None


def test_rates_may_be_a_second() -> None:
    assert RATE.validate_python("512K/s") == RATE.validate_python(" 512 KiB/s ") == 512 * 1024


@pytest.mark.parametrize("value", ["1,5M", "M", "1 5", "٣", True, 1.5, [1], "1e400", "1MM", "-1"])
def test_garbage_is_no_size(value: object) -> None:
    for kind in (SIZE, RATE):
        with pytest.raises(ValueError, match="such as 10G"):
            kind.validate_python(value)


def test_every_setting_says_what_it_is() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        # A line break would break the table of the settings, a stray pipe too.
        assert not set("\n|") & set(field.description), name
