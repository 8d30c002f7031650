"""`make prove`: every trial in full, its figures into docs/proof, the report into docs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.prove import trials
from tests.prove.report import write
from tests.prove.trial import FAKE, REAL_ENGINES, Trial, grounds, keep, proof


def main() -> int:
    """Play what was asked for; return 1 where a promise broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description=__doc__)
    parser.add_argument("trials", nargs="*", choices=[[], *trials.TRIALS], help="default: all")
    parser.add_argument(
        "--engine", action="append", choices=[*REAL_ENGINES, FAKE], help="default: all"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the full counts (default: 1)")
    parser.add_argument("--report", action="store_true", help="only write the report anew")
    asked = parser.parse_args()
    broken = 0
    chosen = [trials.TRIALS[name] for name in asked.trials or trials.TRIALS]
    with tempfile.TemporaryDirectory() as folder, grounds(Path(folder)) as ground:
        for trial in [] if asked.report else chosen:
            for key in trial.engines:
                if key in (asked.engine or trial.engines):
                    broken += not _play(trial, ground(key), asked.scale)
    print(f"wrote {write()}")
    return 1 if broken else 0


def _play(trial: Trial, ground: trials.Ground, scale: float) -> bool:
    count = max(1, round(trial.full * scale))
    print(f"{trial.name} on {ground.key}: {count} {trial.unit} …", flush=True)
    kept = proof(trial, ground, count)
    keep(f"{trial.name}-{ground.key}", kept)
    held = "held" if kept["held"] else f"BROKEN: {kept['broken']}"
    print(f"  {held} in {kept['seconds']} s: {kept['figures']}", flush=True)
    return bool(kept["held"])


if __name__ == "__main__":
    sys.exit(main())
