"""Which `Host` headers mean this server; others may be a rebound name of an attacker's."""

import ipaddress
from dataclasses import dataclass

_HTTP = 80


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the server listens."""

    address: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only programs of this machine can connect."""
        return ipaddress.ip_address(self.address).is_loopback

    def admits(self, header: str) -> bool:
        """Whether a `Host` header means this server.

        Beside its own address, `localhost` means a loopback one. On every address (0.0.0.0), any
        address and port, because a published port may be another: a page that was loaded from an
        address cannot have been rebound, one from a name can.
        """
        host, port = _split(header)
        if ipaddress.ip_address(self.address).is_unspecified:
            return host == "localhost" or _address(host) is not None
        if port != self.port:
            return False
        return (self.loopback and host == "localhost") or _address(host) == self.address

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{address}:{self.port}/"


def _split(header: str) -> tuple[str, int]:
    """Return host and port of a header; port -1 where it is none."""
    host, colon, port = header.rpartition(":")
    if not colon or host.count("[") != host.count("]"):
        return header.lower(), _HTTP
    digits = port.isascii() and port.isdigit() and len(port) <= 5  # noqa: PLR2004 - 65535
    return host.lower(), int(port) if digits else -1


def _address(host: str) -> str | None:
    """Return the address that a host is; None for a name."""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        found = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return None
    return str(found) if bracketed == (found.version == 6) else None  # noqa: PLR2004 - IPv6
