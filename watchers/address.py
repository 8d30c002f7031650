"""Where the engine is, found as Docker's own client finds it.

aiodocker (0.27) knows no DOCKER_CONFIG, prefers the context to DOCKER_HOST and reads
DOCKER_TLS_VERIFY=yes as no, so all of it is read here.
"""

import hashlib
import json
import os
import ssl
from pathlib import Path

from yarl import URL

from watchers.errors import EngineUnusableError

_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "~/.docker/run/docker.sock")
"""Where engines listen that nobody named."""


def find(address: str | None) -> tuple[str, ssl.SSLContext | None]:
    """Return where the engine is: as said, DOCKER_HOST, the context, or a usual socket."""
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
    scheme, _, rest = address.rstrip("/").partition("://")
    if scheme == "unix":
        return address, None
    if scheme == "ssh":
        raise EngineUnusableError(
            "ssh:// is not supported: forward the engine's socket "
            "(ssh -L /tmp/docker.sock:/var/run/docker.sock HOST) and use unix:///tmp/docker.sock"
        )
    if scheme not in ("tcp", "http", "https"):
        raise EngineUnusableError(f"cannot use {address}: it must begin with unix:// or tcp://")
    if tls is None and os.environ.get("DOCKER_TLS_VERIFY"):
        tls = _tls(Path(os.environ.get("DOCKER_CERT_PATH") or _config_dir()))
    return str(URL(f"{'https' if tls else scheme}://{rest}")), tls


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
        raise EngineUnusableError(f"{what} cannot be read: {error}") from error
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
