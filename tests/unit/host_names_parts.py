"""Containers with names of the host's."""

from __future__ import annotations

from typing import Any

from tests.builders import container
from watchers.model import Container

SUFFIX = ".docker"


HOSTILE = b"# \xe9t\xe9, the operator's\r\n127.0.0.1 here\r\n\n\x00\xff\n192.0.2.1\tlast"


def named(name: str, names: str | None = None, **more: Any) -> Container:
    return container(name, labels={"relinkd.host-names": names or f"{name}.docker"}, **more)
