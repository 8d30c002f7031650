"""`make test`: everything, one worker an engine; fails where an engine ran no test."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.conftest import REAL

WORKERS = 4
"""One for each engine, one for the rest: engines mostly wait."""


def main() -> int:
    """Run pytest with the arguments given; return its exit code, or 1 for a missing engine."""
    argv = [sys.executable, "-m", "pytest", "-n", str(WORKERS), "--dist", "loadgroup"]
    with subprocess.Popen([*argv, *sys.argv[1:]], stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        passed = {}
        for line in tests.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if found := re.fullmatch(r"engine (\S+): (\d+) passed\n", line):
                passed[found[1]] = int(found[2])
    missing = [engine for engine in REAL if not passed.get(engine)]
    if not sys.argv[1:] and missing:
        print(f"no test ran on engine {', '.join(missing)}", file=sys.stderr)
        return 1
    return tests.returncode


if __name__ == "__main__":
    sys.exit(main())
