"""Where a store is, and how to be let in."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Access:
    """Where the store is, and how to be let in."""

    members: tuple[str, ...]
    """HOST:PORT each, an IPv6 address in brackets; one of them is asked."""
    prefix: str = "/relinkd"
    """All keys are below it; without a slash at its end."""
    tls: bool = False
    ca: str | None = None
    """A file with the certificates that may have signed the members'; None: the machine's own."""
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password: str = field(default="", repr=False)
