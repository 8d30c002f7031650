import os
from pathlib import Path

from tests.lab.footprint import mount_points, started

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
50 22 0:40 / /tmp/lab/overlay2/a/merged rw - overlay overlay rw
51 50 0:41 / /tmp/lab/overlay2/a/merged/with\\040blank rw - tmpfs tmpfs rw
52 22 0:42 / /tmp/labels rw - tmpfs tmpfs rw
"""


def test_mount_points_below_a_folder_come_innermost_first() -> None:
    assert mount_points(MOUNTINFO, (Path("/tmp/lab"),)) == [
        Path("/tmp/lab/overlay2/a/merged/with blank"),
        Path("/tmp/lab/overlay2/a/merged"),
    ]


def test_a_process_is_known_by_its_start() -> None:
    assert started(os.getpid()) > 0
    assert started(2**22 + 1) == 0  # above the largest pid there can be
