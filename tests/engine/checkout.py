"""A checkout of this repository as its user has it, on a machine without a network."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import images
from tests.lab.base import cache, locked
from tests.lab.engines import Engine
from tests.lab.engines import engine as lab_engine

ROOT = Path(__file__).parents[2]
WITHOUT_INDEX = ["ENV PIP_NO_INDEX=1", "ENV PIP_FIND_LINKS=/src/deploy/wheels"]


def make(folder: Path) -> None:
    """Put into a folder what a build of the image needs."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".dockerignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("reconciler", "watchers", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "docs").mkdir()
    shutil.copy(ROOT / "docs/relinkd.1", folder / "docs")
    shutil.copytree(_wheels(), folder / "deploy/wheels")


def _wheels() -> Path:
    """Return the folder of all that the image installs, downloaded once for these versions."""
    files = [ROOT / "deploy" / name for name in ("requirements.txt", "requirements-build.txt")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    ready = cache() / f"wheels-{digest}"
    with locked(cache() / "lock"):
        if not ready.exists():
            # The base's Python, whatever runs the tests.
            which = ["--only-binary=:all:", "--python-version=3.11", "--no-deps"]
            given = [f"--requirement={file}" for file in files]
            with tempfile.TemporaryDirectory(dir=cache()) as folder:
                pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
                into = f"--dest={folder}/wheels"
                subprocess.run([*pip, *which, *given, into], check=True, timeout=600)
                Path(folder, "wheels").rename(ready)
    return ready


@contextmanager
def builder(key: str) -> Iterator[Engine]:
    """Run an engine that has the image which deploy/Dockerfile is built on.

    Its containers run on while it is started again, so that a sidecar sees that happen.
    """
    with lab_engine(key, dockerd_args=["--live-restore"]) as engine:
        changes = [word for line in WITHOUT_INDEX for word in ("--change", line)]
        base = images.python_base_tar()
        engine.docker("import", *changes, base, "python:3.11-slim", timeout=300)
        yield engine
