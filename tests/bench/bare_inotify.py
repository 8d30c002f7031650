"""The bare loop on the source's own hosts file: `DIRECTORY SOURCE FILE...`; see field.py."""

import ctypes
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path

directory, source, *targets = sys.argv[1:]
libc = ctypes.CDLL(None)
inotify = libc.inotify_init1(os.O_CLOEXEC)
files = [os.open(target, os.O_RDWR) for target in targets]
watched: dict[int, Path] = {}


def watch(path: Path) -> None:
    close_write_and_create = 0x8 | 0x100
    watched[libc.inotify_add_watch(inotify, bytes(path), close_write_and_create)] = path


watch(Path(directory))
watch(Path(directory, source, "hosts"))
print("ready", flush=True)
while data := os.read(inotify, 1 << 16):
    while data:
        wd, _, _, size = struct.unpack_from("iIII", data)
        path, name = watched[wd], data[16 : 16 + size].rstrip(b"\0").decode()
        data = data[16 + size :]
        if path == Path(directory):
            watch(path := path / name)
            name = "hosts"
        if name == "hosts":
            watch(path := path / name)
        with suppress(FileNotFoundError, IsADirectoryError):
            for line in path.read_text().splitlines():
                if line.endswith(path.parent.name[:12]):
                    for file in files:
                        os.pwrite(file, f"{line.split()[0]:15} db\n".encode(), 0)
