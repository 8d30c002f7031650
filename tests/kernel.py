"""What the kernel says of this process."""

from pathlib import Path


def descriptors() -> set[Path]:
    """Return the open files."""
    return {*Path("/proc/self/fd").iterdir()}


def watches() -> int:
    """Return how many inotify watches there are."""
    every = Path("/proc/self/fdinfo").iterdir()
    return sum(each.read_text("ascii").count("inotify wd:") for each in every if each.exists())
