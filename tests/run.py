"""Run one tier of the tests (README.md here): `python -m tests.run TIER [PYTEST ARGUMENT]...`.

It fails if an engine that the tier is for ran no test, be it that all were skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from tests.conftest import EVERY, LATER, TIERS

PURE = ("unit", "properties", "faults", "history", "removal")
"""The folders whose tests never need a real engine."""
FAST = [*PURE, "contract"]
WORKERS = 3
"""Three keep two processors busy, with engines and relinkds beside them. More only wait longer."""


def main(tier: str, arguments: Sequence[str]) -> int:
    """Run pytest; return its exit code, or 1 if an engine ran no test."""
    paths = [argument for argument in arguments if argument.startswith("tests/")]
    pure = tier == "fast" or (paths and all(path.split("/")[1] in PURE for path in paths))
    if not pure:
        more = ["--browser"] if tier == "test" else []
        subprocess.run([sys.executable, "-m", "tests.lab", "prepare", *more], check=True)
    argv = [sys.executable, "-m", "pytest", f"--tier={tier}", "-n", str(WORKERS)]
    argv += ["--dist", "loadgroup", *arguments]
    if tier == "fast":
        argv += ["--hypothesis-profile=quick", *([] if paths else [f"tests/{at}" for at in FAST])]
    ran = dict.fromkeys(needed(tier) if not arguments else (), 0)
    # Else each worker compiles every test again, and each command all of relinkd.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as tests:
        assert tests.stdout is not None
        for line in tests.stdout:
            print(line, end="", flush=True)
            if found := re.fullmatch(r"engine (\S+): (\d+) of \d+ passed\n", line):
                ran[found[1]] = int(found[2])
    missing = [engine for engine, passed in ran.items() if not passed]
    if missing:
        print(f"no test passed on engine {', '.join(missing)}", file=sys.stderr)
    return tests.returncode or bool(missing)


def needed(tier: str) -> list[str]:
    """Return the engines that a whole tier must have run on."""
    if tier == "fast":
        return []
    return [engine for engine in EVERY if tier != "test" or engine != LATER]


if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in TIERS:
        sys.exit(f"{__doc__}\nTIER is one of {', '.join(TIERS)}.")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
