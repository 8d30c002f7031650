"""Engines as Debian packages: downloaded and unpacked into prefixes, the machine left as it is.

Each engine comes from the Debian release that carries it.  A foreign release is read with an apt
configuration of its own, and its packages are unpacked with `dpkg -x`, never installed: several
versions then stand side by side, and a Docker that the machine may have is not touched.
"""

from __future__ import annotations

import email
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.base import PATH, LabError, cache, locked, run, say

HOME_RELEASE = "bookworm"  # whose libc, iptables and runc everything here runs with

# Engine -> how the version of its package begins.
VERSIONS: Mapping[str, str] = {"20": "20.10.", "26": "26.1.", "28": "28.5."}

# Likewise of Podman, which bookworm, trixie and sid have.
PODMAN: Mapping[str, str] = {"podman-4.3": "4.3.", "podman-5.4": "5.4.", "podman-5.8": "5.8."}

# Package -> how its version begins, for each Debian release that an engine is taken from.
# runc is bookworm's throughout, as the newer ones need a newer libc; so is tini, which the newest
# release has no static build of.  The engine of 20 has no Compose of its own days that still runs.
_OURS = {"runc": "", "tini": ""}
_NEWER = {"docker-compose": "", "containerd": "", "libnftables1": ""}
# What Podman starts, and the libraries that not every machine of this release has.
_PODMAN = dict.fromkeys(
    (
        "conmon",
        "netavark",
        "aardvark-dns",
        "golang-github-containers-common",
        "golang-github-containers-image",
        "libseccomp2",
        "libsystemd0",
        "libgpg-error0",
    ),
    "",
)
# The newer ones come with their own libc and what is linked with it.
_PODMAN_NEWER = _PODMAN | dict.fromkeys(
    (
        "crun",
        "libassuan9",
        "libbsd0",
        "libc6",
        "libcap2",
        "libedit2",
        "libffi8",
        "libgcc-s1",
        "libgcrypt20",
        "libglib2.0-0t64",
        "libgmp10",
        "libjansson4",
        "liblz4-1",
        "liblzma5",
        "libmd0",
        "libmnl0",
        "libnftables1",
        "libnftnl11",
        "libpcre2-8-0",
        "libsqlite3-0",
        "libtinfo6",
        "libxtables12",
        "libzstd1",
        "nftables",
        "zlib1g",
    ),
    "",
)
RECIPES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "podman-4.3": {
        HOME_RELEASE: {
            "podman": PODMAN["podman-4.3"],
            **_PODMAN,
            "runc": "",
            "libassuan0": "",
            "libglib2.0-0": "",
            "libgpgme11": "",
            "libsubid4": "",
        }
    },
    "podman-5.4": {
        "trixie": {
            "podman": PODMAN["podman-5.4"],
            **_PODMAN_NEWER,
            "libgpgme11t64": "",
            "libsubid5": "",
            "libyajl2": "",
        }
    },
    "podman-5.8": {
        "sid": {
            "podman": PODMAN["podman-5.8"],
            **_PODMAN_NEWER,
            "libblake3-0": "",
            "libgpgme45": "",
            "libjson-c5": "",
            "libsubid6": "",
            "libtbb12": "",
        }
    },
    "20": {
        HOME_RELEASE: {
            "docker.io": VERSIONS["20"],
            "containerd": "",
            "libdevmapper1.02.1": "",
            **_OURS,
        },
        "trixie": {"docker-cli": VERSIONS["26"], "docker-compose": ""},
    },
    "26": {
        "trixie": {"docker.io": VERSIONS["26"], "docker-cli": VERSIONS["26"], **_NEWER},
        HOME_RELEASE: _OURS,
    },
    "28": {
        "sid": {"docker.io": VERSIONS["28"], "docker-cli": VERSIONS["28"], **_NEWER},
        HOME_RELEASE: _OURS,
    },
    "tools": {HOME_RELEASE: {"busybox-static": "", "debootstrap": ""}},
    # A server that asks for its upstream's address once, and what it is linked with.
    "nginx": {
        HOME_RELEASE: {
            "nginx": "",
            "libc6": "",
            "libcrypt1": "",
            "libpcre2-8-0": "",
            "libssl3": "",
            "zlib1g": "",
        }
    },
    # What stands in front of an engine as a socket proxy, and the libraries that not every machine
    # of this release has.
    "haproxy": {
        HOME_RELEASE: {
            "haproxy": "",
            "liblua5.3-0": "",
            "libopentracing-c-wrapper0": "",
            "libopentracing1": "",
            "libpcre2-8-0": "",
            "libssl3": "",
        }
    },
    # A store that several hosts share, and its own client.
    "etcd": {"trixie": {"etcd-server": "3.5.", "etcd-client": "3.5."}},
    # What docs/observing.md and docs/logs.md are tried with, and a reader of man pages.
    "prometheus": {HOME_RELEASE: {"prometheus": "2.42."}},
    "jq": {HOME_RELEASE: {"jq": "1.6", "libjq1": "1.6", "libonig5": ""}},
    "mandoc": {HOME_RELEASE: {"mandoc": "1.14."}},
    # A small C compiler and two C libraries: what resolves names in most containers.
    "resolvers": {
        HOME_RELEASE: {"tcc": "", "libtcc-dev": "", "musl-dev": "", "libc6-dev": "", "libc6": ""}
    },
}
# Commands that dockerd and the lab call, and the packages that have them.
_COMMANDS = {"ip": "iproute2", "iptables": "iptables", "nsenter": "util-linux"}
_BROWSERS = ("chromium-headless-shell", "chromium")
"""Commands, each the name of its package; the first one has no windows and needs less."""

_ONE_LINE = r"(?m)^deb\s+(?:\[(.*?)\]\s*)?(\S+)\s+(\S+)\s+(.*)"


@dataclass(frozen=True)
class Source:
    """Where this machine gets Debian's packages from, and by which key it trusts them."""

    uri: str
    signed_by: str = ""

    def stanza(self, release: str) -> str:
        """Return the deb822 stanza for another release at the same place."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {release}", "Components: main"]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def parse_sources(text: str) -> Iterator[tuple[Source, frozenset[str]]]:
    """Yield the binary sources of one apt sources file, in either format, and their releases."""
    text = re.sub(r"(?m)^\s*#.*\n?", "", text)
    if re.search(r"(?m)^deb(-src)?\s", text):
        for options, uri, release, components in re.findall(_ONE_LINE, text):
            signed_by = re.search(r"signed-by=(\S+)", options, re.IGNORECASE)
            if "main" in components.split():
                yield Source(uri, signed_by[1] if signed_by else ""), frozenset({release})
        return
    for stanza in re.split(r"\n\s*\n", text):
        fields = email.message_from_string(stanza.lstrip())
        enabled = fields.get("Enabled", "yes").lower() not in {"no", "false", "0"}
        binary = "deb" in fields.get("Types", "").split()
        if enabled and binary and "main" in fields.get("Components", "").split():
            for uri in fields.get("URIs", "").split():
                releases = frozenset(fields.get("Suites", "").split())
                yield Source(uri, fields.get("Signed-By", "").strip()), releases


def machine_source() -> Source:
    """Return the source of this machine's own Debian, from its own apt sources."""
    apt = Path("/etc/apt")
    parts = apt / "sources.list.d"
    for file in (apt / "sources.list", *sorted(parts.glob("*.list")), *parts.glob("*.sources")):
        if file.is_file():
            for source, releases in parse_sources(file.read_text()):
                if HOME_RELEASE in releases:
                    return source
    raise LabError(
        f"the lab needs Debian 12: none of the sources in {apt} is of {HOME_RELEASE};"
        " run it on such a machine or in such a container"
    )


class Release:
    """One Debian release, read with an apt configuration that leaves the machine's alone."""

    def __init__(self, source: Source, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._env = {"APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C"}
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        (folder / "apt.sources").write_text(source.stanza(name))
        settings = {
            "Dir::Etc::sourcelist": folder / "apt.sources",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Check-Valid-Until": "false",  # so that a snapshot will do
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        lines = [f'{key} "{value}";\n' for key, value in settings.items()]
        (folder / "apt.conf").write_text("".join(lines))
        say(f"reading the package lists of {name} …")
        run(["apt-get", "update", "-qq"], env=self._env)

    def version(self, package: str, beginning: str) -> str:
        """Return the newest version of a package that begins so."""
        table = run(["apt-cache", "madison", package], env=self._env)
        offered = [line.split("|")[1].strip() for line in table.splitlines()]
        for version in offered:
            if version.startswith(beginning):
                return version
        raise LabError(
            f"{self.name} offers {package} {', '.join(dict.fromkeys(offered)) or 'not at all'},"
            f" and the lab wants {beginning or 'any'}*: point the machine's apt sources at a"
            " mirror, or a snapshot of one, that still has it"
        )

    def unpack(self, packages: Mapping[str, str], into: Path) -> dict[str, str]:
        """Download and unpack packages, given with how their versions begin; return these."""
        versions = {}
        for package, beginning in packages.items():
            version = versions[package] = self.version(package, beginning)
            say(f"downloading {package} {version} ({self.name}) …")
            run(
                ["apt-get", "download", "-qq", f"{package}={version}"],
                env=self._env,
                cwd=self._folder,
            )
        for deb in self._folder.glob("*.deb"):
            run(["dpkg", "-x", deb, into])
        return versions


def prefix(key: str) -> Path:
    """Return the folder with the unpacked packages of one recipe, made when it is not there."""
    if key not in RECIPES:
        raise LabError(f"there is no engine {key} in the lab, only {', '.join(VERSIONS)}")
    recipe = RECIPES[key]
    digest = hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]
    ready = cache() / f"{key}-{digest}"
    if ready.is_dir():
        return ready
    with locked(cache() / "lock"), tempfile.TemporaryDirectory(dir=cache()) as folder:
        if ready.is_dir():  # somebody else made it while we waited
            return ready
        source = machine_source()
        made = Path(folder, "prefix")
        for release, packages in recipe.items():
            versions = Release(source, release, Path(folder, release)).unpack(packages, made)
            if engine := versions.get("docker.io") or versions.get("podman"):
                (made / "lab-version").write_text(engine.partition("+")[0])
            if "podman" in versions:
                _merge(made)
        _link_commands(made)
        made.rename(ready)
    return ready


def _link_commands(made: Path) -> None:
    """Gather what dockerd starts in one folder, to be first on its PATH."""
    folder = made / "lab-bin"
    folder.mkdir()
    for name in (
        "dockerd",
        "docker-proxy",
        "docker-init",
        "containerd",
        "containerd-shim-runc-v2",
        "ctr",
        "runc",
        "docker",
    ):
        for place in ("usr/sbin", "usr/bin", "usr/libexec/docker"):
            if (made / place / name).exists():
                (folder / name).symlink_to(Path("..", place, name))
                break


def _merge(made: Path) -> None:
    """Move what packages of before the merge have at the top into usr, where a link leads now."""
    for name in ("bin", "lib", "sbin"):
        if (made / name).is_dir():
            shutil.copytree(made / name, made / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(made / name)


def version_of(made: Path) -> str:
    """Return the version of the engine in a prefix."""
    return (made / "lab-version").read_text()


def library_path(made: Path) -> str:
    """Return the folders of a prefix's own shared libraries, as the loader wants them."""
    folders = made.glob(f"**/lib/{platform.machine()}-linux-gnu")
    return ":".join(str(folder) for folder in folders)


def require_machine() -> None:
    """Make sure that this machine can carry engines; install the few commands it lacks."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LabError("the lab starts Docker engines: run it as root on Linux")
    _install(_COMMANDS)
    try:
        run(["unshare", "--net", "true"])
    except LabError as error:
        raise LabError(
            "the lab needs network namespaces, which are not allowed here"
            f" ({error}): run it on a machine of its own or in a privileged container"
        ) from error


def browser() -> str | None:
    """Return the path of this machine's Chromium; None if it has none."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def require_browser() -> None:
    """Make sure that this machine has a Chromium."""
    if browser() is None:
        _install({_BROWSERS[0]: _BROWSERS[0]}, "fonts-dejavu-core")


def _install(packages: Mapping[str, str], *more: str) -> None:
    """Install the packages of the commands that this machine lacks, if any, and more with them."""
    lacking = sorted({packages[name] for name in _missing(packages)})
    if lacking:
        with locked(cache() / "lock"):
            if _missing(packages):
                say(f"installing {' '.join(lacking)} …")
                run(["apt-get", "update", "-qq"])
                install = ["apt-get", "install", "-qq", "--no-install-recommends", *lacking, *more]
                run(install, env={"DEBIAN_FRONTEND": "noninteractive"})


def _missing(commands: Iterable[str]) -> list[str]:
    return [name for name in commands if not shutil.which(name, path=PATH)]
