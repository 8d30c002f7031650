"""What deploy/ says, held against what it must agree with; and the parts of the demo that judge."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from deploy.demo.engine import own_engine
from deploy.demo.errors import DemoError
from deploy.demo.story import Story, ahead
from deploy.demo.witness import Witness, addresses, reaches_nobody, tail
from reconciler.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = (DEPLOY / "compose.yaml").read_text()
LOCKS = ["requirements.txt", "requirements-build.txt"]

HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
ff02::2\tip6-allrouters
172.17.0.9\tweb
# relinkd begin
172.17.0.2      db
#72.17.0.3      db
172.17.0.4      database # db
# relinkd end
"""


def _pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_installed_is_hashed_and_the_tested_version(lock: str) -> None:
    text = (DEPLOY / lock).read_text()
    pins, tested = _pins(DEPLOY / lock), _pins(ROOT / "tests/requirements.txt")
    assert pins
    assert {name: tested[name] for name in pins} == pins
    outline = re.sub(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", "hash", text, flags=re.MULTILINE)
    assert re.fullmatch(r"([a-z0-9-]+==\S+ \\\n(hash\n)+)+", outline)


def test_every_dependency_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"], project["build-system"]["requires"]
    for lock, requirements in zip(LOCKS, wanted, strict=True):
        names = {re.split(r"[<>=\[~]", requirement)[0] for requirement in requirements}
        assert names <= set(_pins(DEPLOY / lock))


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(DEPLOY.iterdir()) if path.is_file()],
    ids=lambda path: path.name,
)
def test_no_address_of_an_index_is_kept(path: Path) -> None:
    assert not re.search(r"https?://(?!\{ALIAS\})|index-url|find-links", path.read_text())


def test_the_build_context_has_what_the_dockerfile_copies_and_no_more() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    wanted = {name.partition("/")[0] for names in copied for name in names.split()}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    shown = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert wanted == {name for name in shown if "/" not in name}
    for lock in LOCKS:
        assert any(fnmatch(f"deploy/{lock}", name) for name in shown)


def test_the_release_pins_the_base_that_the_dockerfile_names() -> None:
    assert len(re.findall(r"^ARG BASE=\S+$", DOCKERFILE, re.MULTILINE)) == 1
    release = (ROOT / ".github/workflows/release.yml").read_text()
    assert "sed -n 's/^ARG BASE=//p' deploy/Dockerfile" in release
    given = re.findall(r"^            ([A-Z]+)=\$\{\{", release, re.MULTILINE)
    assert set(given) == set(re.findall(r"^ARG ([A-Z]+)=?$", DOCKERFILE, re.MULTILINE))


def test_relinkd_is_started_without_a_shell() -> None:
    assert re.findall(r"^(?:ENTRYPOINT|CMD) (.*)", DOCKERFILE, re.MULTILINE) == [
        '["relinkd"]',
        '["run"]',
    ]


@pytest.mark.parametrize(
    "setting",
    [
        "cap_drop: [ALL]",
        "read_only: true",
        "security_opt: [no-new-privileges:true]",
        "network_mode: none",
        "init: false",
        "cpu_shares: 65536",
        "restart: unless-stopped",
    ],
)
def test_the_sidecar_has_least_power_but_is_served_first(setting: str) -> None:
    assert f"\n    {setting}\n" in COMPOSE


def test_compose_passes_every_setting_on() -> None:
    names = set(Settings.__struct_fields__) - {"link", "origins"}
    passed = re.findall(r"^      (RELINKD_[A-Z_]+):", COMPOSE, re.MULTILINE)
    assert sorted(passed) == sorted(f"RELINKD_{name.upper()}" for name in names)


def test_the_image_is_named_with_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    pages = [ROOT / "README.md", DEPLOY / "README.md", DEPLOY / "compose.yaml"]
    for page in (*pages, ROOT / "docs/uninstalling.md"):
        assert set(re.findall(r"relinkd/relinkd:(\S+?)[`\s]", page.read_text())) == {version}


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_accepts_the_units(kind: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    unit = (DEPLOY / f"systemd/{kind}/relinkd.service").read_text()
    # It looks for the program, too, which is not installed where the unit says.
    unit, found = re.subn(
        r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit, flags=re.MULTILINE
    )
    assert found == 1
    (tmp_path / "relinkd.service").write_text(unit)
    verified = subprocess.run(
        ["systemd-analyze", f"--{kind}", "--man=no", "verify", tmp_path / "relinkd.service"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_the_demo_reads_a_hosts_file_as_a_resolver_does() -> None:
    assert addresses(HOSTS, "db") == {"172.17.0.2"}
    assert addresses(HOSTS, "database") == {"172.17.0.4"}
    assert addresses(HOSTS, "relinkd") == frozenset()
    assert tail(HOSTS).splitlines()[0] == "172.17.0.9\tweb"


def test_the_demo_says_who_came_first() -> None:
    assert ahead(1_000_000, 3_500_000) == "2.5 ms before"
    assert ahead(3_500_000, 1_000_000) == "2.5 ms AFTER"


def test_a_witness_knows_whom_a_file_ever_named(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("172.17.0.2 db\n")
    witness = Witness(tmp_path)
    witness.watch(hosts)
    began = witness.came(frozenset({"172.17.0.2"})) + 1
    with hosts.open("r+") as file:
        file.write("#")
    gone = witness.came(frozenset())
    witness.close()
    assert witness.since(began) == {"172.17.0.2"}
    assert witness.since(gone + 1) == frozenset()


def test_what_is_late_or_wrong_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    story.saw("this", holds=True)
    assert story.failed == 0
    story.saw("that", holds=False)
    assert story.failed == 1
    assert capsys.readouterr().out == "   ok      this\n   FAILED  that\n"


def test_an_engine_elsewhere_is_not_the_demo_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    with pytest.raises(DemoError, match="network"):
        own_engine()


def test_an_engine_that_does_not_answer_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(DemoError, match="No engine answers"):
        own_engine()


@pytest.mark.parametrize(
    ("code", "said", "nobody"),
    [
        (1, "wget: bad address 'db'", True),
        (1, "wget: can't connect to remote host (255.255.255.255): Network unreachable", True),
        (1, "wget: can't connect to remote host: Network is unreachable", True),
        (4, "wget: unable to resolve host address 'db'", True),
        (0, "I am a stranger", False),
        (0, "bad address", False),
        (1, "wget: can't connect to remote host (172.17.0.2): Connection refused", False),
        (1, "wget: unrecognized option: T", False),
        (137, "no answer", False),
    ],
)
def test_only_a_name_that_leads_nowhere_reaches_nobody(
    code: int,
    said: str,
    nobody: bool,
) -> None:
    assert reaches_nobody(code, said) is nobody


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_is_not_there_ends_the_demo(code: int) -> None:
    with pytest.raises(DemoError, match="no wget"):
        reaches_nobody(code, "sh: wget: not found")


def test_what_a_line_means_is_explained_once_and_where_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    story = Story()
    for text in ("nothing", "# spare", "# spare"):
        story.quote(text, where="somewhere")
        story.explain("# spare", "room")
    assert capsys.readouterr().out.count("(# spare: room)") == 1
