"""How relinkd is let into the fleet's store: by the settings, and a password beside them."""

import os
from pathlib import Path

from reconciler.fleet_values import PASSWORD, NoAccessError, members
from reconciler.settings import PREFIX, Settings
from watchers.etcd import Access, StoreRefusedError, certificates


def access(settings: Settings) -> Access:
    """Return where the store is, and how to be let in.

    Raises:
        NoAccessError: There is no password for the user.
    """
    tls, found = members(settings.fleet or "")
    return Access(
        members=found,
        prefix=settings.fleet_prefix,
        tls=tls,
        ca=settings.fleet_ca,
        cert=settings.fleet_cert,
        key=settings.fleet_key,
        user=settings.fleet_user,
        password=_password(settings) if settings.fleet_user is not None else "",
    )


def _password(settings: Settings) -> str:
    path = settings.fleet_password_file
    if path is None:
        found = os.environ.get(PREFIX + PASSWORD)
        if not found:
            raise NoAccessError(
                f"user {settings.fleet_user} needs a password: set --fleet-password-file, or "
                f"{PREFIX}{PASSWORD}"
            )
        return found
    try:
        found = Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise NoAccessError(f"--fleet-password-file {path}: {why}") from error
    if not found:
        raise NoAccessError(f"--fleet-password-file {path} is empty")
    return found


def problem(settings: Settings) -> str | None:
    """Return why the password or the certificates cannot be used; None if they can."""
    try:
        certificates(access(settings))
    except (NoAccessError, StoreRefusedError) as error:
        return str(error)
    return None
