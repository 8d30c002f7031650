# ruff: noqa: T201 - it is what the demo says
"""What the demo says: its scenes, commands and quotes, and what was seen to hold."""

import textwrap


class Story:
    """Tells what happens and what was seen, and counts what was not."""

    def __init__(self) -> None:
        """Begin with nothing failed."""
        self.failed = 0
        self._scenes = 0
        self._quoted = ""
        self._explained: set[str] = set()

    def scene(self, title: str) -> None:
        """Begin a step."""
        self._scenes += 1
        print(f"\n{self._scenes}. {title}")

    def command(self, text: str) -> None:
        """Show a command that does what is done now."""
        print(f"   $ {text}")

    def quote(self, text: str, *, where: str) -> None:
        """Show a file's text, or what a program said."""
        self._quoted = text
        print(f"   {where}:")
        print(textwrap.indent(text.rstrip("\n"), "     | "))

    def explain(self, text: str, means: str) -> None:
        """Explain a text the first time that the last quote contains it."""
        if text in self._quoted and text not in self._explained:
            self._explained.add(text)
            head = f"     ({text}: "
            print(textwrap.fill(f"{means})", 96, initial_indent=head, subsequent_indent=" " * 6))

    def saw(self, what: str, holds: bool) -> None:  # noqa: FBT001 - reads as a sentence
        """Print what the demo expects to see, and count it as failed if it does not hold."""
        self.failed += not holds
        head = "   ok      " if holds else "   FAILED  "
        print(textwrap.fill(what, 96, initial_indent=head, subsequent_indent=" " * 11))

    def late(self, what: str) -> None:
        """Print that relinkd was late, and that the demo tries again."""
        print(f"   late    by {what}")

    def aside(self, what: str) -> None:
        """Tell what happens without relinkd."""
        head = "   (plain --link: "
        print(textwrap.fill(f"{what})", 96, initial_indent=head, subsequent_indent=" " * 4))


def ahead(one_ns: int, other_ns: int) -> str:
    """Say by how much the one was ahead of the other."""
    return f"{abs(other_ns - one_ns) / 1e6:.1f} ms {'before' if one_ns < other_ns else 'AFTER'}"
