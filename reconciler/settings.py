"""Settings: flag, then `RELINKD_*`, then the TOML file of `--config`, then the default."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from reconciler.core.declare import KINDS, Kind

CONTAINERS_DIR = "/var/lib/docker/containers"
RUN_DIR = "/run/relinkd"


class SettingsError(Exception):
    """A setting that cannot be; the text names it and says what can."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What relinkd was told, checked."""

    engine: str | None = None
    """Where the engine is; None: as Docker's own client finds it."""
    containers_dir: str = CONTAINERS_DIR
    """Where the engine's `containers` directory is mounted."""
    declared_by: tuple[Kind, ...] = KINDS
    resync: Annotated[float, msgspec.Meta(ge=1.0, le=86400.0)] = 60.0
    """Seconds between full looks."""
    run_dir: str = RUN_DIR
    """Where the running daemon answers `relinkd health`."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


def seconds(text: str) -> float:
    """Read `60`, `60s`, `1.5m` or `1h`.

    Raises:
        ValueError: it is none of these.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    unit = units.get(text[-1:], 0.0)
    return float(text[:-1]) * unit if unit else float(text)


def read_file(path: Path) -> dict[str, Any]:
    """Return the settings of a TOML file, names as on the command line.

    Raises:
        SettingsError: it cannot be read, is no TOML, or holds what is no setting.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from error
    known = {field.encode_name for field in msgspec.structs.fields(Settings)}
    for name in found:
        if name not in known:
            raise SettingsError(
                f"{path}: unknown setting {name}; known are {', '.join(sorted(known))}"
            )
    return found


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
    if isinstance(given.get("declared-by"), str):
        given["declared-by"] = [part.strip() for part in given["declared-by"].split(",")]
    try:
        return msgspec.convert(given, Settings)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        raise SettingsError(f"{where.strip('`$.') or 'settings'}: {what}") from error
