"""What a message may look like, whatever it is about."""

from __future__ import annotations

from typing import Final

SOME: Final = "ab" * 32
LONGEST_SAID: Final = 2000
"""Characters of one message, whatever it is about."""


def harmless(said: str) -> None:
    """Fail where a message drives a terminal, is more than a line, or is as long as one likes."""
    assert said.isprintable(), said
    assert len(said) <= LONGEST_SAID, len(said)
