"""Settings: flag, then `RELINKD_*`, then the TOML file of `--config`, then the default."""

import ipaddress
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from reconciler.core.declare import KINDS, ConfigLink, Kind, alias_problem, config_problem
from reconciler.core.options import POWERS, Power

CONTAINERS_DIR = "/var/lib/docker/containers"
RUN_DIR = "/run/relinkd"
_SMALLEST_POOL = 24
"""Sixteen private networks."""
_MOST_SAID = 5
"""Broken tables that one message tells of."""


class SettingsError(Exception):
    """A setting that cannot be; the text names it and says what can."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What relinkd was told, checked."""

    engine: str | None = None
    """Where the engine is; None: as Docker's own client finds it."""
    containers_dir: str = CONTAINERS_DIR
    """Where the engine's `containers` directory is mounted."""
    delivery: Literal["path", "exec", "auto"] = "path"
    """How hosts files are reached: in that directory, or by a command in each container."""
    declared_by: tuple[Kind, ...] = KINDS
    resync: Annotated[float, msgspec.Meta(ge=1.0, le=86400.0)] = 60.0
    """Seconds between full looks."""
    allow: tuple[Power, ...] = ()
    """What may be done beside keeping hosts files, for containers whose labels ask for it."""
    host_names_file: str | None = None
    """Where the host's own hosts file is mounted."""
    host_names_suffix: str = ".docker"
    """What every name of the host's file ends in."""
    private_pool: str = "10.213.0.0/16"
    """What private networks are cut from."""
    listen: str | None = None
    """Where metrics are served: ADDRESS:PORT, the address of IPv6 in brackets."""
    run_dir: str = RUN_DIR
    """Where the running daemon answers `relinkd health`."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    link: tuple[ConfigLink, ...] = ()
    """The file's `[[link]]` tables, obeyed as they change."""
    config: str | None = None
    """The file itself; no setting of its own."""
    given: tuple[str, ...] = ()
    """Which settings a flag or variable gave; no setting of its own."""


def seconds(text: str) -> float:
    """Read `60`, `60s`, `1.5m` or `1h`.

    Raises:
        ValueError: it is none of these.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    unit = units.get(text[-1:], 0.0)
    return float(text[:-1]) * unit if unit else float(text)


def listen_address(text: str) -> tuple[str, int]:
    """Read `127.0.0.1:9090` or `[::1]:9090` as an IP address and a port.

    Raises:
        ValueError: it is neither; the text says what to write.
    """
    host, colon, port = text.rpartition(":")
    if colon and not host:
        raise ValueError(
            f"{text!r} would listen on every address; say which one, as 127.0.0.1{text}"
        )
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        address = None
    if address is None or bracketed != (address.version == 6):  # noqa: PLR2004 - IPv6
        raise ValueError(f"{text!r} is no IP address and port; write 127.0.0.1:9090, or [::1]:9090")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16):  # noqa: PLR2004
        raise ValueError(f"{port!r} is no port; write one from 1 to 65535")
    return str(address), int(port)


def read_file(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file, names as on the command line.

    Raises:
        SettingsError: it cannot be read, is no TOML, or holds what is no setting.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:  # of numbers and nests too large for Python, too
        raise SettingsError(f"{path} is no TOML: {error}") from error
    known = {field.encode_name for field in msgspec.structs.fields(Settings)}
    known -= {"config", "given"}
    for name in found:
        if name not in known:
            raise SettingsError(
                f"{path}: unknown setting {name}; known are {', '.join(sorted(known))}"
            )
    if "link" in found:
        found["link"] = _links(found["link"], path)
    return found


def _links(tables: object, path: Path) -> list[ConfigLink]:
    """Return the `[[link]]` tables, or say of each that cannot stand which it is and why."""
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
        ValueError: it cannot stand; the text names the key.
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
        raise ValueError(f"{key}: {what}" if key else what) from error
    if problem := config_problem(link):
        raise ValueError(problem)
    return link


def load(path: Path | None, given: Mapping[str, Any]) -> Settings:
    """Return checked settings: those `given` by flag or variable, None for not, then the file's.

    Raises:
        SettingsError: a value is none that the setting can have, or the file is broken.
    """
    told = {name: value for name, value in given.items() if value is not None}
    settings = build({**(read_file(path) if path is not None else {}), **told})
    config = str(path) if path is not None else None
    return msgspec.structs.replace(settings, config=config, given=tuple(told))


def load_again(settings: Settings) -> Settings:
    """Return what a start by the same flags and variables would make of the file as it is now.

    Raises:
        SettingsError: as `load`.
    """
    path = Path(settings.config) if settings.config is not None else None
    return load(path, {name: getattr(settings, name.replace("-", "_")) for name in settings.given})


def restart_needed(started: Settings, now: Settings) -> Iterator[str]:
    """Yield the settings that differ and are read at the start alone."""
    for field in msgspec.structs.fields(Settings):
        if field.name != "link" and getattr(started, field.name) != getattr(now, field.name):
            yield field.encode_name


def build(values: dict[str, Any]) -> Settings:
    """Return checked settings; `values` by name as on the command line, None for not given.

    Raises:
        SettingsError: a value is none that the setting can have.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if isinstance(given.get("resync"), str):
        try:
            given["resync"] = seconds(given["resync"])
        except ValueError:
            raise SettingsError(
                f"resync: {given['resync']!r} is no time; write 60s or 5m"
            ) from None
    for name in ("declared-by", "allow"):
        if isinstance(given.get(name), str):
            given[name] = [part.strip() for part in given[name].split(",") if part.strip()]
    try:
        settings = msgspec.convert(given, Settings)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        if where.startswith("`$.allow"):
            what = f"{what}; known are {', '.join(POWERS)}"
        raise SettingsError(f"{where.strip('`$.') or 'settings'}: {what}") from error
    if problem := _problem(settings):
        raise SettingsError(problem)
    return settings


def _problem(settings: Settings) -> str | None:
    """Say which settings cannot stand together, or on their own; None if all can."""
    if ("host-names" in settings.allow) != (settings.host_names_file is not None):
        return (
            "host-names-file and --allow host-names go together: the one says where the host's "
            "hosts file is mounted, the other that it may be written"
        )
    if settings.delivery != "path" and "exec" not in settings.allow:
        return (
            f"delivery: {settings.delivery} writes hosts files by a command in their containers, "
            "and needs --allow exec as well"
        )
    suffix = settings.host_names_suffix
    if not suffix.startswith(".") or alias_problem(suffix[1:], ""):
        return f"host-names-suffix: {suffix!r} is none; write a dot and a name, as .docker"
    if settings.listen is not None:
        try:
            listen_address(settings.listen)
        except ValueError as error:
            return f"listen: {error}"
    return _pool_problem(settings.private_pool)


def _pool_problem(text: str) -> str | None:
    """Say why private networks cannot be cut from a pool; None if they can."""
    try:
        pool = ipaddress.IPv4Network(text)
    except ValueError as error:
        return f"private-pool: {error}; write it as 10.213.0.0/16"
    if not pool.is_private or pool.prefixlen > _SMALLEST_POOL:
        return f"private-pool: {text} is no private network of /{_SMALLEST_POOL} or larger"
    return None
