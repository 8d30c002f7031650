"""`relinkd health`: ask the running daemon whether it is well. By the standard library alone."""

import os
import socket
import sys

RUN_DIR = "/run/relinkd"
SOCKET = "health.sock"
LONGEST = 1000
"""Characters of the answer that are read."""
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
        sys.stderr.write(f"relinkd: no daemon answers at {path}: {error.strerror or error}\n")
        return 1
    answer = "".join(char if char.isprintable() else "?" for char in said.strip())
    sys.stdout.write(answer + "\n")
    return 0 if answer.startswith("ok") else 1
