"""The man page, by Debian's mandoc."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.cli.commands import COMMANDS
from tests.observing.conftest import ROOT, ran
from tests.reference import SETTINGS

Tool = Callable[..., list[str]]


def test_mandoc_has_nothing_to_say_against_it_and_shows_all(tool: Tool) -> None:
    mandoc = tool("mandoc", "mandoc")
    linted = ran([*mandoc, "-T", "lint", "docs/relinkd.1"], ROOT)
    assert (linted.returncode, linted.stdout) == (0, "")
    shown = ran([*mandoc, "-T", "ascii", "-O", "width=500", "docs/relinkd.1"], ROOT).stdout
    plain = "".join(
        char for at, char in enumerate(shown) if char != "\b" and shown[at + 1 : at + 2] != "\b"
    )
    for name in COMMANDS:
        assert f"\n   relinkd {name}" in plain
    for name, option in SETTINGS.items():
        assert f"--{name} {option.metavar}\n" in plain
        assert f"Variable: {option.envvar}\n" in plain
