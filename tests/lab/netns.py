"""Doing something in another network namespace, in this process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def inside(netns: str, act: Callable[[], _T]) -> _T:
    """Call a function in a thread whose sockets are in a namespace; return what it returns."""

    def enter() -> None:
        namespace = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(namespace, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter the namespace {netns}")
        finally:
            os.close(namespace)

    def entered() -> _T:
        enter()
        return act()

    # The thread ends with the call, so no other work is ever done there.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(entered).result()
