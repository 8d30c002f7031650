"""`relinkd health`: ask the running daemon whether it is well. Uses only the standard library."""

import os
import socket
import sys

RUN_DIR = "/run/relinkd"
SOCKET = "relinkd.sock"
LONGEST = 1000
"""Most characters to read of the answer."""
PATIENCE = 5.0
"""Seconds that the daemon has to answer."""


def ask(run_dir: str | None = None) -> int:
    """Print the daemon's answer; return 0 if it is well, else 1."""
    folder = run_dir or os.environ.get("RELINKD_RUN_DIR", RUN_DIR)
    path = f"{folder}/{SOCKET}"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(path)
            said = connection.makefile(encoding="utf-8", errors="replace").readline(LONGEST)
    except OSError as error:
        sys.stderr.write(
            f"relinkd: no daemon answers at {path}: {error.strerror or error}; "
            "start `relinkd run`, or give the daemon's --run-dir\n"
        )
        return 1
    answer = "".join(char if char.isprintable() else "?" for char in said.strip())
    sys.stdout.write(answer + "\n")
    return 0 if answer.startswith("ok") else 1
