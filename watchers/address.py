"""Find the engine as Docker's own client does.

aiodocker (0.27) ignores DOCKER_CONFIG, prefers the context to DOCKER_HOST, and reads
DOCKER_TLS_VERIFY=yes as no. So this module does all of that itself.
"""

import hashlib
import json
import os
import re
import ssl
from pathlib import Path

from yarl import URL

from watchers.errors import AddressError, EngineUnusableError

_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "~/.docker/run/docker.sock")
"""Where an engine listens by default."""


def find(address: str | None) -> tuple[str, ssl.SSLContext | None]:
    """Return the engine's address and TLS settings.

    The order is: the given address, DOCKER_HOST, the current context, a usual socket.

    Raises:
        AddressError: The address can never work, or the context cannot be read.
        EngineUnusableError: No place has an address.
    """
    tls = None
    address = address or os.environ.get("DOCKER_HOST")
    if not address:
        address, tls = _context()
    if not address:
        sockets = (Path(path).expanduser() for path in _SOCKETS)
        address = next((f"unix://{path}" for path in sockets if path.is_socket()), None)
    if not address:
        raise EngineUnusableError(
            "no engine found: DOCKER_HOST is not set, there is no current context and none of the "
            "usual sockets exists; name it with --engine unix:///path/to/docker.sock"
        )
    if address.startswith("unix://") and not address.startswith("unix:///"):
        rest = address.removeprefix("unix://")
        where = f"unix:///{rest}" if rest else "unix:///path/to/docker.sock"
        raise AddressError(f"cannot use {address}: write {where}, with three slashes")
    if address.startswith("unix://") and address.strip("/") != "unix:":
        return address, None
    return _over_tcp(address, tls)


def _over_tcp(address: str, tls: ssl.SSLContext | None) -> tuple[str, ssl.SSLContext | None]:
    scheme, _, rest = address.rstrip("/").partition("://")
    if scheme == "ssh":
        raise AddressError(
            "ssh:// is not supported: forward the engine's socket "
            "(ssh -L /tmp/docker.sock:/var/run/docker.sock HOST) and write unix:///tmp/docker.sock"
        )
    if scheme not in ("tcp", "http", "https"):
        raise AddressError(f"cannot use {address}: write {_right_form(address)}")
    if tls is None and os.environ.get("DOCKER_TLS_VERIFY"):
        tls = _tls(Path(os.environ.get("DOCKER_CERT_PATH") or _config_dir()))
    if tls is None and scheme == "https":
        raise AddressError(
            f"cannot use {address} without TLS settings: set DOCKER_TLS_VERIFY=1, and "
            "DOCKER_CERT_PATH to the directory of ca.pem, cert.pem and key.pem; for an engine "
            f"without TLS write tcp://{rest}"
        )
    try:
        url = URL(f"{'https' if tls else scheme}://{rest}")
    except ValueError as error:
        raise AddressError(f"cannot use {address}: {error}; write tcp://HOST:PORT") from error
    if not url.host:
        raise AddressError(f"cannot use {address}: write tcp://HOST:PORT")
    return str(url), tls


def _right_form(address: str) -> str:
    """Return the right form of an address with no scheme or a wrong one."""
    if re.fullmatch(r"[^/]+:[0-9]+", address):
        return f"tcp://{address}"
    path = re.sub("^unix:/*(?=/)", "", address)
    if re.match("/+[^/]", path):
        return f"unix://{path}"
    return "unix:///path/to/docker.sock or tcp://HOST:PORT"


def _config_dir() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _context() -> tuple[str | None, ssl.SSLContext | None]:
    """Return the address and the TLS settings of the current context, if there is one."""
    config = _config_dir()
    name = os.environ.get("DOCKER_CONTEXT")
    try:
        if not name and (config / "config.json").exists():
            name = json.loads((config / "config.json").read_bytes()).get("currentContext")
        if not name or name == "default":
            return None, None
        digest = hashlib.sha256(name.encode()).hexdigest()
        meta = json.loads((config / "contexts" / "meta" / digest / "meta.json").read_bytes())
        endpoint = meta["Endpoints"]["docker"]
        address, verify = str(endpoint["Host"]), not endpoint.get("SkipTLSVerify")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = f"the Docker context {name!r}" if name else f"{config}/config.json"
        raise AddressError(f"{what} cannot be read: {error}") from error
    certificates = config / "contexts" / "tls" / digest / "docker"
    return address, _tls(certificates, verify=verify) if certificates.is_dir() else None


def _tls(certificates: Path, *, verify: bool = True) -> ssl.SSLContext:
    """Return TLS settings with the certificates of a directory, as Docker names them."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if (certificates / "ca.pem").exists():
        context.load_verify_locations(certificates / "ca.pem")
    if (certificates / "cert.pem").exists():
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    return context
