"""A recording proxy in a process of its own: what it adds to each request is not the test's load.

`python -m tests.engine.recorder ENGINE LISTEN RECORD` passes requests on until SIGTERM and then
writes each as a line `METHOD PATH`.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.lab.proxy import RecordingProxy


def main() -> None:
    """Pass requests on until SIGTERM, then write them down."""
    engine, listen, record = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: None)
    with RecordingProxy(Path(engine), Path(listen)) as proxy:
        signal.pause()
        lines = (f"{request.method} {request.path}\n" for request in proxy.requests)
        Path(record).write_text("".join(lines))


if __name__ == "__main__":
    main()
