"""Settings: flag, then `RELINKD_*`, then the TOML file of `--config`, then the default."""

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from reconciler import fleet_values
from reconciler.links.declare import KINDS, ConfigLink, Kind, alias_problem, config_problem
from reconciler.links.options import POWERS, Power
from reconciler.links.text import plain
from reconciler.values import listen_address, pool_problem, routed_problem, seconds

PREFIX = "RELINKD_"
RUN_DIR = "/run/relinkd"
_MOST_SAID = 5
"""Most invalid tables in one message."""


class SettingsError(Exception):
    """A setting is invalid; the text names it and its valid values."""


Origin = Literal["flag", "variable", "file", "default"]
Delivery = Literal["path", "exec", "auto"]
LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

_WORDS: Mapping[str, tuple[str, ...]] = {
    "allow": POWERS,
    "declared-by": KINDS,
    "delivery": get_args(Delivery),
    "log-format": get_args(LogFormat),
    "log-level": get_args(LogLevel),
}
"""Setting -> the words that its value may have."""
_LISTS = ("allow", "declared-by", "routed")
_INSIDE = ("config", "origins")
"""Fields that are not settings."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """relinkd's settings, checked."""

    engine: str | None = None
    """The engine's address; None: as Docker's own client finds it."""
    containers_dir: str | None = None
    """Where the engine's `containers` directory is mounted; None: the engine's own path."""
    delivery: Delivery = "path"
    """How relinkd reaches hosts files: in that directory, or by a command in each container."""
    declared_by: tuple[Kind, ...] = KINDS
    resync: Annotated[float, msgspec.Meta(ge=1.0, le=86400.0)] = 60.0
    """Seconds between full looks."""
    allow: tuple[Power, ...] = ()
    """The powers beyond hosts files, for containers whose labels ask for them."""
    host_names_file: str | None = None
    """Where the host's own hosts file is mounted."""
    host_names_suffix: str = ".docker"
    """The end that every name in the host's file must have."""
    routed: tuple[str, ...] = ()
    """Names and ranges of networks that other hosts reach, and whose containers reach theirs."""
    private_pool: str = "10.213.0.0/16"
    """The pool for subnets of private networks."""
    fleet: str | None = None
    """The store that the hosts of a fleet share: `etcd://HOST:PORT,…`, or `etcds://` with TLS."""
    fleet_prefix: str = "/relinkd"
    """All keys of the fleet are below it."""
    fleet_lease: Annotated[float, msgspec.Meta(ge=3.0, le=300.0)] = 10.0
    """Seconds for which records stand without a sign of life from their host, or of the store."""
    fleet_address: str | None = None
    """This host's address among the hosts; None: the one towards the store."""
    fleet_ca: str | None = None
    fleet_cert: str | None = None
    fleet_key: str | None = None
    fleet_user: str | None = None
    fleet_password_file: str | None = None
    listen: str | None = None
    """The ADDRESS:PORT that serves the page and metrics, with an IPv6 address in brackets."""
    run_dir: str = RUN_DIR
    """Where the running daemon answers `relinkd health` and the other commands."""
    log_format: LogFormat = "auto"
    """auto: console on a terminal, JSON elsewhere."""
    log_level: LogLevel = "info"
    link: tuple[ConfigLink, ...] = ()
    """The file's `[[link]]` tables; changes take effect at once."""
    config: str | None = None
    """The path of the file; not a setting."""
    origins: dict[str, Origin] = {}
    """Setting -> where its value comes from, if not the default; not a setting."""

    def origin(self, name: str) -> Origin:
        """Return where a setting comes from."""
        return self.origins.get(name, "default")

    def value(self, name: str) -> object:
        """Return a setting by its name on the command line."""
        return getattr(self, name.replace("-", "_"))


@dataclass(frozen=True, slots=True)
class _Given:
    """The given values and where each was given, so that a message can name the place."""

    values: Mapping[str, Any]
    origins: Mapping[str, Origin]
    path: Path | None = None

    def place(self, name: str) -> str:
        """Return how the user wrote a setting."""
        value = self.values.get(name)
        text = plain(value) if isinstance(value, str) else ""
        if name == "fleet" and "@" in text:
            text = ""  # it may hold a password
        match self.origins.get(name):
            case "flag":
                return f"--{name} {text}"
            case "variable":
                return f"{variable(name)}={text}"
            case "file":
                return f"{self.path}: {name} = {text}" if text else f"{self.path}: {name}"
        return name


class _WrongError(ValueError):
    """A setting's value is invalid; the text has the valid ones."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(what)
        self.name = name


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.replace("-", "_").upper()


def names() -> list[str]:
    """Return the settings by name, as on the command line."""
    fields = msgspec.structs.fields(Settings)
    return [field.encode_name for field in fields if field.encode_name not in _INSIDE]


def unknown_variable(environment: Mapping[str, str]) -> str | None:
    """Return a message for a variable that misspells a setting; None if there is none.

    Variables that resemble no setting are ignored: the engine itself sets RELINKD_PORT and others
    in containers that link to one named relinkd.
    """
    known = {variable(name).removeprefix(PREFIX) for name in (*names(), "config")} - {"LINK"}
    known.add(fleet_values.PASSWORD)
    for found in sorted(environment):
        rest = found.removeprefix(PREFIX)
        if rest == found or rest in known or not environment[found]:
            continue
        if near := get_close_matches(rest, sorted(known), n=1, cutoff=0.7):
            return f"{plain(found)} is not a setting: did you mean {PREFIX}{near[0]}?"
    return None


def words(allowed: Collection[str]) -> str:
    """Join words with commas and `or`."""
    *first, last = allowed
    return f"{', '.join(first)} or {last}" if first else last


def read_file(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file, names as on the command line.

    Raises:
        SettingsError: The file cannot be read, is not TOML, or has an unknown setting.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: not UTF-8 text") from error
    except (ValueError, RecursionError) as error:  # also numbers and nesting too large for Python
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    known = names()
    for name in found:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = [f"[[{each}]]" if each == "link" else each for each in near]
            hint = f"did you mean {meant[0]}?" if meant else f"known are {', '.join(known)}"
            raise SettingsError(f"{path}: {plain(name)} is not a setting: {hint}")
    if "link" in found:
        found["link"] = _links(found["link"], path)
    return found


def _links(tables: object, path: Path) -> list[ConfigLink]:
    """Return the `[[link]]` tables.

    Raises:
        SettingsError: A table is invalid; the text has the number and problem of each.
    """
    if not isinstance(tables, list):
        raise SettingsError(f"{path}: link: write [[link]] above each link, in double brackets")
    links: list[ConfigLink] = []
    problems: list[str] = []
    for number, table in enumerate(tables, 1):
        try:
            links.append(_link(table))
        except ValueError as error:
            problems.append(f"{path}: [[link]] number {number}: {error}")
    if problems:
        more = len(problems) - _MOST_SAID
        raise SettingsError(
            "; ".join(problems[:_MOST_SAID]) + (f"; and {more} more" if more > 0 else "")
        )
    return links


def _link(table: object) -> ConfigLink:
    """Return one checked table.

    Raises:
        ValueError: The table is invalid; the text names the key.
    """
    keys = [field.encode_name for field in msgspec.structs.fields(ConfigLink)]
    for key in table if isinstance(table, dict) else ():
        if key not in keys:
            (near,) = get_close_matches(key, keys, n=1, cutoff=0.0)
            raise ValueError(f"unknown key {key}: did you mean {near}?")
    try:
        link = msgspec.convert(table, ConfigLink)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        key = where.strip("`$.")
        if what.startswith("Invalid enum"):
            what = "write running or healthy"
        elif lacking := re.fullmatch("Object missing required field `(.+)`", what):
            what = f"it has no {lacking[1]}; write recipient and source"
        elif key:
            what = "write text, in quotes"
        raise ValueError(f"{key}: {what}" if key else what) from error
    if problem := config_problem(link):
        raise ValueError(problem)
    return link


def load(path: Path | None, given: Mapping[str, Any], variables: Collection[str] = ()) -> Settings:
    """Return checked settings: first those given, then the file's, then the defaults.

    Args:
        path: The config file, if there is one.
        given: The values by flag or variable; None if not given.
        variables: The names of those that a variable gave.

    Raises:
        SettingsError: A value or the file is invalid.
    """
    told = {name: value for name, value in given.items() if value is not None}
    file = read_file(path) if path is not None else {}
    origins: dict[str, Origin] = {
        **dict.fromkeys(file, "file"),
        **{name: "variable" if name in variables else "flag" for name in told},
    }
    settings = _build(_Given({**file, **told}, origins, path))
    config = str(path) if path is not None else None
    return msgspec.structs.replace(settings, config=config, origins=origins)


def load_again(settings: Settings) -> Settings:
    """Return the settings of a new start with the same flags and variables and the current file.

    Raises:
        SettingsError: A value or the file is invalid.
    """
    path = Path(settings.config) if settings.config is not None else None
    given = {
        name: settings.value(name)
        for name, origin in settings.origins.items()
        if origin in ("flag", "variable")
    }
    variables = [name for name in given if settings.origins[name] == "variable"]
    return load(path, given, variables)


def restart_needed(started: Settings, now: Settings) -> Iterator[str]:
    """Yield the changed settings that take effect only at a start."""
    for name in names():
        if name != "link" and started.value(name) != now.value(name):
            yield name


def build(values: Mapping[str, Any]) -> Settings:
    """Return checked settings.

    Args:
        values: The values by name as on the command line; None if not given.

    Raises:
        SettingsError: A value is invalid.
    """
    return _build(_Given({name: each for name, each in values.items() if each is not None}, {}))


def _build(given: _Given) -> Settings:
    try:
        settings = _converted(given.values)
        _check(settings)
    except _WrongError as error:
        raise SettingsError(f"{given.place(error.name)}: {error}") from error
    return settings


def _converted(given: Mapping[str, Any]) -> Settings:
    values = dict(given)
    for name, said in _TIMES.items():
        if isinstance(values.get(name), str):
            try:
                values[name] = seconds(values[name])
            except ValueError:
                raise _WrongError(name, said) from None
    for name in _LISTS:
        if isinstance(values.get(name), str):
            values[name] = [part.strip() for part in values[name].split(",") if part.strip()]
    for name, allowed in _WORDS.items():
        value = values.get(name)
        for word in value if isinstance(value, list | tuple) else [value] * (name in values):
            if isinstance(word, str) and word not in allowed:
                raise _WrongError(name, _mend(word, allowed, alone=name not in _LISTS))
    try:
        return msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        name = str(error).partition(" - at ")[2].strip("`$.").partition("[")[0]
        lists = dict.fromkeys(_LISTS, "write words in quotes, in a list or with commas between")
        wanted = {**_TIMES, **lists}
        raise _WrongError(name, wanted.get(name, "write text, in quotes")) from error


_TIMES = {
    "resync": "write a time from 1s to 24h, for example 60s or 5m",
    "fleet-lease": "write a time from 3s to 5m, for example 10s",
}
"""Setting that is a time -> its valid values."""


def _mend(word: str, allowed: Collection[str], *, alone: bool) -> str:
    """Return what to write in place of an invalid word."""
    unknown = "" if alone else f"{plain(word)} is not known; "
    if near := get_close_matches(word, allowed, n=1):
        return f"{unknown}did you mean {near[0]}? Write {words(allowed)}"
    return f"{unknown}write {words(allowed)}"


def _check(settings: Settings) -> None:
    """Check each setting, and the settings together.

    Raises:
        _WrongError: A setting is invalid.
    """
    if ("host-names" in settings.allow) != (settings.host_names_file is not None):
        raise _WrongError(
            "host-names-file" if settings.host_names_file is not None else "allow",
            "host-names-file and --allow host-names need each other: the first is the path of the "
            "host's hosts file, the second allows relinkd to write it",
        )
    if settings.delivery != "path" and "exec" not in settings.allow:
        raise _WrongError(
            "delivery",
            f"{settings.delivery} writes hosts files by a command in their containers, and needs "
            "--allow exec as well",
        )
    suffix = settings.host_names_suffix
    if not suffix.startswith(".") or alias_problem(suffix[1:], ""):
        raise _WrongError("host-names-suffix", "write a dot and a name, for example .docker")
    if settings.listen is not None:
        try:
            listen_address(settings.listen)
        except ValueError as error:
            raise _WrongError("listen", str(error)) from error
    for word in settings.routed:
        if problem := routed_problem(word):
            raise _WrongError("routed", problem)
    if problem := pool_problem(settings.private_pool):
        raise _WrongError("private-pool", problem)
    if wrong := fleet_values.problem({name: settings.value(name) for name in names()}):
        raise _WrongError(*wrong)
