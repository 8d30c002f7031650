"""SIGTERM ends the daemon with 0, whenever it comes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.engine.stack import RELINKD


@pytest.mark.parametrize("awaited", ["daemon.started", "engine.lost"])
def test_it_ends_with_0_at_its_first_words(tmp_path: Path, awaited: str) -> None:
    """Between the command's handler and the daemon's own there is no moment without one."""
    (tmp_path / "containers").mkdir()
    options = [f"--engine=unix://{tmp_path}/none.sock", f"--containers-dir={tmp_path}/containers"]
    argv = [*RELINKD, "run", *options, f"--run-dir={tmp_path}/run", "--log-format=json"]
    for _ in range(2):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as daemon:
            assert daemon.stdout is not None
            for line in daemon.stdout:
                if awaited.encode() in line:
                    daemon.send_signal(signal.SIGTERM)
                    break
            rest = daemon.stdout.read()
            assert daemon.wait(30) == 0, rest.decode()
        assert b"daemon.stopped" in rest
