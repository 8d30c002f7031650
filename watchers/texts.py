"""Texts of an engine's answers: of bounded length, addresses in one form."""

import ipaddress
import re

_MAX_TEXT = 4096
"""Most characters of a name, path or word; labels keep their own length."""
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,254}").fullmatch
"""A container's name, or a host's."""
_WORD = re.compile("[A-Za-z][A-Za-z_-]{0,63}").fullmatch
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}").fullmatch


def short(text: str) -> str:
    """Return a text; empty if it is too long to be meant."""
    return text if len(text) <= _MAX_TEXT else ""


def word(text: str) -> str:
    """Return a word of the engine's own, such as a state; empty if it is none."""
    return text if _WORD(text) else ""


def texts(found: list[str] | None) -> tuple[str, ...]:
    """Return texts without those that are too long to be meant."""
    return tuple(text for text in found or () if len(text) <= _MAX_TEXT)


def canonical(text: str) -> str | None:
    """Return the address of `172.17.0.2/16` or `fd00::2/64` in canonical form."""
    bare = text.partition("/")[0]
    if not bare or _IPV4(bare):
        return bare or None
    try:
        address = str(ipaddress.ip_address(bare))
    except ValueError:
        return None
    # A zone (`fe80::1%eth0`) means nothing in another namespace, and may be any text.
    return None if "%" in address else address
