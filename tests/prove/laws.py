"""The laws of tests/properties, ten times as long as the tests play them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.prove.trial import FAKE, Figures, Ground, trial

ROOT = Path(__file__).parents[2]
SHOWN = 20_000
"""Most characters of what the tests print of a broken law: its smallest example comes last."""


@trial("The laws, for long", short=1, full=1_000, unit="examples of each law", engines=(FAKE,))
def laws(ground: Ground, count: int) -> Figures:
    """Hypothesis makes inputs at random for each law of `tests/properties`, and reduces one that
    breaks a law to the smallest that does. Laws are about hosts files and the edits to them, the
    files that a change of containers, networks or the config file concerns, lost, late and doubled
    events and answers, any bytes of an engine, a container or a user, and the variables of links.
    The tests play 100 examples of most laws. An input that once broke a law stays beside it, as an
    example that each run plays. Promised: no law breaks.
    """
    results = ground.folder / "laws.xml"
    argv = [sys.executable, "-m", "pytest", "tests/properties", "--hypothesis-profile=laws"]
    argv += ["--override-ini=timeout=0", "-q", "-n", "auto", f"--junit-xml={results}"]
    # This may be a pytest, too.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment = {**inherited, "RELINKD_EXAMPLES": str(count)}
    run = subprocess.run(
        argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    cases = [*ET.parse(results).getroot().iter("testcase")]
    broken = [case for case in cases if case.find("failure") is not None]
    broken += [case for case in cases if case.find("error") is not None]
    figures = Figures({"laws and cases": len(cases), "broken": len(broken)})
    if run.returncode:
        print(run.stdout[-SHOWN:])
    assert run.returncode == 0, figures
    return figures
