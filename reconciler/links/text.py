"""Text for messages; untrusted text becomes one line of printable ASCII."""

import re

_NUMBER = re.compile("[0-9]+")


def quoted(text: str) -> str:
    """Quote untrusted text for a message: one printable line of 80 characters at most."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")  # noqa: PLR2004 - a line's width


def plain(text: str) -> str:
    """Make an untrusted name one line of printable ASCII.

    Engines accept any text as a network name, and Compose's labels may hold any text.
    """
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)


def counted(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def in_order(name: str) -> tuple[str, str]:
    """Return the sort key of a name: web-2 comes before web-10."""
    return _NUMBER.sub(lambda found: found[0].zfill(9), name), name
