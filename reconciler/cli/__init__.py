"""The `relinkd` command; each command is a module, imported when it is used.

`health` runs every half minute, so `main` answers it before it imports anything else.
"""

import signal
import sys


def main() -> None:
    """Run the command line; the entry point of `relinkd`."""
    # PID 1 of a container ignores a signal without a handler: this one handles SIGTERM from the
    # first line until the daemon has its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if sys.argv[1:] == ["health"]:
        from reconciler.cli.health import ask  # noqa: PLC0415 - see above

        sys.exit(ask())
    from reconciler.cli.commands import cli  # noqa: PLC0415 - see above

    cli(prog_name="relinkd")
