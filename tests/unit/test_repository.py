"""What contributors rely on: the hooks and the workflows run what the Makefile runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def recipe(target: str) -> list[str]:
    """Return the commands of a target."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return [line.strip() for line in found[1].splitlines()]


def test_the_hooks_run_what_make_check_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    entries = re.findall(r"^ +entry: (.+)", hooks, re.MULTILINE)
    assert entries == [line.replace("$(BIN)", ".venv/bin") for line in recipe("check")]


def test_the_workflows_and_the_guide_call_targets_that_exist() -> None:
    pages = [*WORKFLOWS, ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
    called = {
        target
        for page in pages
        for target in re.findall(
            r"(?:run: |`|\$ )make (?:-o \S+ )?([a-z-]+)", page.read_text(), re.MULTILINE
        )
    }
    assert called >= {"check", "demo", "test", "test-fast", "test-engines"}
    assert called <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_every_action_is_pinned_by_digest() -> None:
    used = [name for file in WORKFLOWS for name in re.findall(r"uses: (.+)", file.read_text())]
    assert used
    assert [name for name in used if not re.fullmatch(r"\S+@[0-9a-f]{40} # v\S+", name)] == []


# -- a release -------------------------------------------------------------------------------------

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
CHANGES = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", CHANGELOG, re.MULTILINE)


def script(name: str) -> str:
    """Return the commands of a step of the release workflow."""
    text = (ROOT / ".github/workflows/release.yml").read_text()
    step = text.partition(f"name: {name}\n")[2].partition("run: |\n")[2]
    return textwrap.dedent(re.match(r"(?: {10}.*\n|\n)+", step)[0])  # type: ignore[index] # fails


def ran(commands: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run them as the workflow does, with no tool but those of the folder's `bin`."""
    path = f"{folder}/bin:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    return tmp_path


def test_the_version_is_in_one_place_and_the_newest_of_the_changelog() -> None:
    assert CHANGES[:2] == [("Unreleased", ""), (VERSION, CHANGES[1][1])]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", CHANGES[1][1])
    for tree in ("reconciler", "watchers", "deploy"):
        for file in (ROOT / tree).rglob("*.py"):
            assert VERSION not in file.read_text(), file


@pytest.mark.parametrize(("tag", "code"), [(f"v{VERSION}", 0), ("v9.9.9", 1), (VERSION, 1)])
def test_only_the_tag_of_this_version_is_released(checkout: Path, tag: str, code: int) -> None:
    check = script("The tag is the version of pyproject.toml, and CHANGELOG.md has it")
    assert ran(check, checkout, GITHUB_REF_NAME=tag).returncode == code


def test_a_version_that_the_changelog_lacks_is_not_released(checkout: Path) -> None:
    changes = checkout / "CHANGELOG.md"
    changes.write_text(changes.read_text().replace(f"## [{VERSION}] - ", f"## [{VERSION}]"))
    check = script("The tag is the version of pyproject.toml, and CHANGELOG.md has it")
    assert ran(check, checkout, GITHUB_REF_NAME=f"v{VERSION}").returncode == 1


def test_the_notes_have_the_changes_and_the_commands_that_verify(checkout: Path) -> None:
    changes = CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n- Not yet.\n")
    older = "\n## [0.0.1] - 2020-01-01\n\n- Long ago.\n"
    (checkout / "CHANGELOG.md").write_text(changes + older)
    (checkout / "dist").mkdir()
    files = [f"relinkd-{VERSION}-py3-none-any.whl", f"relinkd-{VERSION}.tar.gz"]
    for file in files:
        (checkout / "dist" / file).touch()
    (checkout / "bin/cosign").write_text('#!/bin/sh\n[ "$3" = --bundle ] && touch "$4"\n')
    (checkout / "bin/gh").write_text('#!/bin/sh\necho "$@" > called\n')
    for tool in ("cosign", "gh"):
        (checkout / "bin" / tool).chmod(0o755)
    done = ran(
        script("Sign the packages and publish"),
        checkout,
        GITHUB_REF_NAME=f"v{VERSION}",
        REFERENCE="registry.example/someone/relinkd@sha256:1234",
        IDENTITY="https://host.example/someone/relinkd/release.yml@refs/tags/v1",
    )
    assert done.returncode == 0, done.stderr
    notes = (checkout / "notes.md").read_text()
    assert not [text for text in ("## [", "Not yet.", "Long ago.") if text in notes]
    assert "### Added" in notes
    assert "cosign verify registry.example/someone/relinkd@sha256:1234 --certificate-id" in notes
    for file in files:
        assert f"cosign verify-blob {file} --bundle {file}.sigstore.json --certificate-id" in notes
        assert f"dist/{file}.sigstore.json" in (checkout / "called").read_text()
