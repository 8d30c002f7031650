"""The sdist and the wheel: what is in them, and that they work where nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine import stack
from tests.fakes.engine import FakeEngine
from tests.reference import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def built(source: Path, into: Path, *options: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(into), *options],
        cwd=source,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make dist` makes."""
    folder = tmp_path_factory.mktemp("dist")
    built(ROOT, folder)
    return folder


def content(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_the_wheel_has_the_packages_and_the_man_page_alone(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert wheel.name == f"relinkd-{VERSION}-py3-none-any.whl"
    tracked = subprocess.run(
        ["git", "ls-files", "reconciler", "watchers"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    named = content(wheel)
    ours = {name for name in named if not name.startswith(f"relinkd-{VERSION}.")}
    assert ours == set(tracked) or not tracked  # an unpacked sdist knows no git
    data = {name for name in named if ".data/" in name}
    assert data == {f"relinkd-{VERSION}.data/data/share/man/man1/relinkd.1"}
    assert {f"relinkd-{VERSION}.dist-info/licenses/LICENSE", "reconciler/py.typed"} <= named


def test_the_sdist_makes_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    built(tmp_path / f"relinkd-{VERSION}", tmp_path, "-t", "wheel")
    (wheel,), (again,) = dist.glob("*.whl"), tmp_path.glob("*.whl")
    assert content(again) == content(wheel)


def test_installed_alone_it_keeps_links(
    dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin/pip"), "install", "--quiet"]
    hashed = [
        "--require-hashes",
        "--only-binary",
        ":all:",
        "-r",
        str(ROOT / "deploy/requirements.txt"),
    ]
    subprocess.run([*pip, *hashed], check=True)
    subprocess.run([*pip, "--no-index", "--no-deps", *map(str, dist.glob("*.whl"))], check=True)
    # Neither this checkout nor its environment.
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("PYTHON", "COVERAGE", "COV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(stack, "RELINKD", [str(venv / "bin/relinkd")])
    subprocess.run([venv / "bin/pip", "check"], check=True, capture_output=True)
    assert stack.run_relinkd("--version").stdout == f"relinkd, version {VERSION}\n"
    assert (venv / "share/man/man1/relinkd.1").is_file()
    where = [str(venv / "bin/python"), "-c", "import reconciler; print(reconciler.__file__)"]
    found = subprocess.run(where, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(venv)
    with FakeEngine("28", socket=tmp_path / "docker.sock", root=tmp_path) as fake:
        fake.containers_dir.mkdir(exist_ok=True)
        (tmp_path / "run").mkdir()
        running = stack.Daemon(fake.socket, fake.containers_dir, tmp_path / "run", recorded=False)
        with closing(running):
            running.start()
            played = stack.Stack(fake.client, fake.containers_dir, running)
            played.run("db")
            web = played.run("web", "db")
            stack.until(lambda: "db" in (fake.containers_dir / web / "hosts").read_text(), "db")
            rows = stack.run_relinkd("links", "--format", "json", *running.options)
            assert [row["state"] for row in json.loads(rows.stdout)] == ["linked"]
            assert running.stop() == 0
