"""Values of settings that have a form of their own: times, addresses, ranges, networks."""

import ipaddress

from reconciler.links.declare import network_problem

_SMALLEST_POOL = 24
"""Sixteen private networks."""


def seconds(text: str) -> float:
    """Read `60`, `60s`, `1.5m` or `1h`.

    Raises:
        ValueError: The text has another form.
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    unit = units.get(text[-1:], 0.0)
    return float(text[:-1]) * unit if unit else float(text)


def listen_address(text: str) -> tuple[str, int]:
    """Read `127.0.0.1:9090` or `[::1]:9090` as an IP address and a port.

    Raises:
        ValueError: The text has another form; the message has the right one.
    """
    host, colon, port = text.rpartition(":")
    if colon and not host:
        raise ValueError(
            f"{text!r} would listen on every address; write one of them, such as 127.0.0.1{text}"
        )
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        address = None
    if address is None or bracketed != (address.version == 6):  # noqa: PLR2004 - IPv6
        raise ValueError(
            f"{text!r} is not an IP address and port; write 127.0.0.1:9090 or [::1]:9090"
        )
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16):  # noqa: PLR2004 - a port
        raise ValueError(f"{port!r} is not a port; write one from 1 to 65535")
    return str(address), int(port)


def pool_problem(text: str) -> str | None:
    """Return why a pool cannot hold private networks; None if it can."""
    try:
        pool = ipaddress.IPv4Network(text)
    except ValueError as error:
        return f"{error}; write it as 10.213.0.0/16"
    if not pool.is_private or pool.prefixlen > _SMALLEST_POOL:
        return f"write a private network of /{_SMALLEST_POOL} or larger, for example 10.213.0.0/16"
    return None


def routed_problem(word: str) -> str | None:
    """Return why a word is neither a network's name nor a range of addresses; None if it is."""
    if "/" not in word:
        return network_problem(word)
    try:
        found = ipaddress.ip_network(word)
    except ValueError as error:
        return f"{error}; write it as 10.28.0.0/16"
    return "a network of every address is no route" if found.prefixlen == 0 else None
