"""Names in the host's own hosts file: what `check`, `clean` and a start of the daemon say."""

from pathlib import Path

import pytest

from reconciler.cli.commands import FAILED
from reconciler.features.host_names import clean
from tests.builders import container
from tests.machine import HOSTS, Machine, other_writer

FOREIGN = HOSTS + b"192.0.2.1 mine # of mine\n\xff\xfe\n"
BLOCK = b"# relinkd begin\n10.0.0.2        web.docker\n# relinkd end\n"


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "etc-hosts"
    found.write_bytes(FOREIGN + BLOCK)
    monkeypatch.setattr(clean, "OWN_HOSTS", found)
    return found


def test_go_from_this_hosts_file_without_being_named(machine: Machine, hosts: Path) -> None:
    dry = machine.run("clean", "--dry-run").stdout
    assert f"{hosts}: the block of 1 line would be removed" in dry
    result = machine.run("clean")
    assert f"{hosts}: the block of 1 line removed" in result.stdout
    assert hosts.read_bytes() == FOREIGN


def test_where_they_may_be_elsewhere_it_is_said_how(machine: Machine, hosts: Path) -> None:
    hosts.write_bytes(FOREIGN)
    labels = {"relinkd.host-names": "web.docker"}
    machine.world.add(container("named", labels=labels), back="10.0.0.21")
    assert "named asked for names in the host's hosts file" in machine.run("clean").stderr
    assert "--host-names-file FILE --allow host-names" in machine.run("clean").stderr
    assert hosts.read_bytes() == FOREIGN


def test_a_file_that_is_not_mounted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object) -> None:
        pytest.fail("the daemon begins all the same")

    monkeypatch.setattr("reconciler.app.open_files", begun)
    missing = machine.folder / "no-such"
    options = ["--allow=host-names", f"--host-names-file={missing}"]
    with other_writer(machine.folder):
        checked = machine.run("check", *options)
    (line,) = (line for line in checked.stdout.splitlines() if str(missing) in line)
    assert line.startswith(f"- {missing}: No such file")
    assert "mounted as a file and writable" in line
    started = machine.run("run", *options)
    assert started.exit_code == FAILED
    assert line.removeprefix("- ") in started.stderr
