"""Engines by hand: `python -m tests.lab --help`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.lab import footprint, hosts, images
from tests.lab.base import LabError
from tests.lab.engines import engine
from tests.lab.packages import RECIPES, VERSIONS, prefix, require_browser, require_machine


def _up(arguments: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with engine(
        arguments.engine, root=arguments.root, dockerd_args=arguments.dockerd_args
    ) as started:
        print(f"export DOCKER_HOST=unix://{started.socket}")
        print(f"# Docker {started.version}; its containers directory:")
        print(f"export CONTAINERS_DIR={started.containers_dir}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print(file=sys.stderr)


def _hosts(arguments: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with hosts.hosts(
        arguments.engine,
        arguments.count,
        swarm=arguments.swarm,
        routed=arguments.routed,
        etcd=arguments.etcd,
        root=arguments.root,
    ) as lab:
        print("\n".join(hosts.describe(lab)), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print(file=sys.stderr)


def _prepare(arguments: argparse.Namespace) -> None:
    require_machine()
    others = (key for key in RECIPES if key not in VERSIONS)
    for key in (*others, *(arguments.engines or VERSIONS)):
        prefix(key)
    if arguments.browser:
        require_browser()
    if arguments.python_base:
        images.python_base_tar()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab",
        description="Docker engines of several versions on a machine with none, for the tests."
        " Needs root on Debian 12; installs nothing but iptables, iproute2 and util-linux, and with"
        " --browser Chromium.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser(
        "up",
        help="run an engine until Ctrl-C, then remove every trace of it",
        epilog="Arguments after -- are dockerd's: up 28 -- --live-restore",
    )
    up.add_argument("engine", choices=VERSIONS, help=f"which engine ({_offered()})")
    up.add_argument("--root", type=Path, help="the folder for its data (default: a temporary one)")
    up.add_argument("dockerd_args", nargs="*", metavar="-- ARGUMENT", help="arguments for dockerd")
    up.set_defaults(act=_up)

    several = commands.add_parser(
        "hosts", help="run several hosts, each an engine, until Ctrl-C, then remove them"
    )
    several.add_argument("engine", choices=VERSIONS, help=f"which engine ({_offered()})")
    several.add_argument("--count", type=int, default=3, help="how many (default: 3)")
    several.add_argument("--swarm", action="store_true", help="have them make a Swarm")
    several.add_argument(
        "--routed", action="store_true", help="give each a network that the others have routes to"
    )
    several.add_argument("--etcd", action="store_true", help="run an etcd, a member a host")
    several.add_argument("--root", type=Path, help="the folder for their data")
    several.set_defaults(act=_hosts)

    prepare = commands.add_parser("prepare", help="download all that the engines need, and stop")
    prepare.add_argument(
        "engines", nargs="*", metavar="ENGINE", help=f"{_offered()} (default: all)"
    )
    prepare.add_argument(
        "--python-base", action="store_true", help="also build the base of the sidecar's image"
    )
    prepare.add_argument(
        "--browser", action="store_true", help="also install a browser without windows"
    )
    prepare.set_defaults(act=_prepare)

    reap = commands.add_parser("reap", help="remove the engines whose owners were killed")
    reap.set_defaults(act=lambda _: footprint.reap())

    watch = commands.add_parser("watch", help="remove an engine when its owner is gone (internal)")
    watch.add_argument("name")
    watch.set_defaults(act=lambda arguments: footprint.watch(arguments.name))
    return parser


def _offered() -> str:
    return ", ".join(f"{key} is {version}x" for key, version in VERSIONS.items())


def main() -> None:
    """Run one command."""
    arguments = _parser().parse_args()
    try:
        arguments.act(arguments)
    except LabError as error:
        sys.exit(f"lab: {error}")


if __name__ == "__main__":
    main()
