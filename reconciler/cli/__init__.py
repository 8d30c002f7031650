"""The `relinkd` command; a module a command, imported when it is used.

`health` runs every half minute for ever, so it is answered before anything else is imported.
"""

import signal
import sys


def main() -> None:
    """Run the command line; the entry point of `relinkd`."""
    # As PID 1 of a container a signal without a handler is lost: from the first line on, until the
    # daemon has its own, SIGTERM ends it well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sys.argv[1:] == ["health"]:
        from reconciler.cli.health import ask  # noqa: PLC0415 - see above

        sys.exit(ask())
    from reconciler.cli.commands import cli  # noqa: PLC0415 - see above

    cli(prog_name="relinkd")
