"""The settings of a fleet's store: what is valid, and in words what is not. See docs/fleet.md."""

import re
from collections.abc import Mapping
from ipaddress import ip_address

SCHEMES = {"etcd": False, "etcds": True}
"""The scheme of `--fleet` -> whether it means TLS."""
PORT = 2379
PASSWORD = "FLEET_PASSWORD"  # noqa: S105 - the name of a variable
"""Ends the name of the variable that may hold the password: no setting, so nothing shows it."""
_FORM = "write etcd://HOST:2379,HOST:2379, or etcds:// with TLS"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?").fullmatch
_PREFIX = re.compile(r"(/[A-Za-z0-9_.-]+)+").fullmatch
_NEED = {
    "fleet-address": ("fleet",),
    "fleet-ca": ("fleet",),
    "fleet-cert": ("fleet", "fleet-key"),
    "fleet-key": ("fleet", "fleet-cert"),
    "fleet-user": ("fleet",),
    "fleet-password-file": ("fleet", "fleet-user"),
}
"""Setting -> what it is nothing without."""


class NoAccessError(Exception):
    """A file or variable of the fleet's settings cannot be used; the text has the fix."""


def members(text: str) -> tuple[bool, tuple[str, ...]]:
    """Read `etcd://a:2379,[fd00::2]` as whether it means TLS, and each member with its port.

    Raises:
        ValueError: The text has another form; the message never has a password that is in it.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError(_FORM)
    if "@" in rest:
        raise ValueError(
            f"no user and password there: use --fleet-user and --fleet-password-file, and {_FORM}"
        )
    return SCHEMES[scheme], tuple(map(_member, rest.removesuffix("/").split(",")))


def _member(text: str) -> str:
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        valid = ":" in host and _is_address(host) and (not rest or rest.startswith(":"))
        host = f"[{host}]"
    else:
        host, colon, port = text.partition(":")
        valid = bool(_HOST(host)) and (not colon or bool(port))
    number = port or str(PORT)
    if not valid or not re.fullmatch(r"[1-9][0-9]{0,4}", number) or int(number) >= 1 << 16:
        raise ValueError(f"{text[:80]!a} is no member: {_FORM}")
    return f"{host}:{number}"


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def problem(values: Mapping[str, object]) -> tuple[str, str] | None:
    """Return the first setting of a fleet that is invalid, and why; None if all are valid.

    Args:
        values: The settings by name; None if not given.
    """
    for name, needed in _NEED.items():
        for other in needed:
            if values[name] is not None and values[other] is None:
                return name, f"this needs --{other} as well"
    prefix, address, fleet = (values[each] for each in ("fleet-prefix", "fleet-address", "fleet"))
    if not _PREFIX(str(prefix)) or len(str(prefix)) > 128:  # noqa: PLR2004 - keys stay short
        return "fleet-prefix", "write a slash and words, for example /relinkd or /relinkd/berlin"
    if address is not None and not _is_address(str(address)):
        return "fleet-address", "write this host's IP address, as other hosts reach it"
    if fleet is None:
        return None
    try:
        tls, _ = members(str(fleet))
    except ValueError as error:
        return "fleet", str(error)
    for name in ("fleet-ca", "fleet-cert"):
        if values[name] is not None and not tls:
            return name, "this needs TLS: write etcds:// in --fleet"
    return None
