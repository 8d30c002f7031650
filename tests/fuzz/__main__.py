"""`python -m tests.fuzz [TARGET] [--seconds N]`: atheris against the targets, guided by coverage.

atheris is 35 MB, for x86-64 alone, and so no part of what `make test` installs:

    .venv/bin/pip install --require-hashes --only-binary :all: -r tests/fuzz/requirements.txt

Each target runs in a process of its own. What breaks a law is left as a file below
`.fuzz/TARGET/`, with which `python -m tests.fuzz TARGET FILE` plays it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.targets import TARGETS, seeds

ROOMS = ("reconciler", "watchers")
FOLDER = Path(".fuzz")


def play(target: str, argv: list[str]) -> None:
    """Fuzz one target in this process, for ever or as libFuzzer's own arguments say."""
    import atheris  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415

    with atheris.instrument_imports(include=[*ROOMS]):
        for name in [each for each in sys.modules if each.startswith((*ROOMS, "tests.fuzz."))]:
            del sys.modules[name]
        targets = import_module("tests.fuzz.targets")
    atheris.Setup([sys.argv[0], *argv], targets.TARGETS[target])
    atheris.Fuzz()


def main() -> int:
    """Play each target for a while; return 1 if a law was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("file", nargs="?", type=Path, help="what broke a law before")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    given = parser.parse_args()
    if given.file is not None:
        TARGETS[given.target](given.file.read_bytes())
        print("held")
        return 0
    if find_spec("atheris") is None:
        print(f"no atheris; {__doc__}", file=sys.stderr)
        return 2
    broken = []
    for target in [given.target] if given.target else TARGETS:
        folder = FOLDER / target
        corpus = folder / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds(target)):
            (corpus / f"seed-{number}").write_bytes(seed)
        limits = [f"-max_total_time={given.seconds}", "-rss_limit_mb=1024", "-timeout=20"]
        argv = [*limits, "-print_final_stats=1", f"-artifact_prefix={folder}/", str(corpus)]
        print(f"== {target}", flush=True)
        run = f"from tests.fuzz.__main__ import play; play({target!r}, {argv!r})"
        if subprocess.run([sys.executable, "-c", run], check=False).returncode:
            broken.append(target)
    print(f"broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
