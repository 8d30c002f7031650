"""`relinkd run`."""

import sys

import click

from reconciler import app, log
from reconciler.cli.commands import FAILED, fail
from reconciler.cli.options import with_acting, with_own_settings
from reconciler.settings import Settings


@click.command("run")
@click.option(
    "--resync",
    envvar="RELINKD_RESYNC",
    metavar="TIME",
    help="Time between two full looks at the engine, for example 60s or 5m.  [default: 60s]",
)
@click.option(
    "--listen",
    envvar="RELINKD_LISTEN",
    metavar="ADDRESS:PORT",
    help="Serve a page of all links there, for example at 127.0.0.1:9090 or [::1]:9090, and "
    "/healthz, /readyz, /metrics, /links and /events for programs.  [default: none]",
)
@with_acting
@with_own_settings
def command(settings: Settings) -> None:
    """Follow the engine and keep every recipient's hosts file up to date.

    The daemon runs until SIGTERM or SIGINT. It needs the engine's socket (only GET) and the
    engine's containers directory, writable. A second daemon on the same directory stands by and
    takes over when the first ends. The links stay in the files when the daemon stops, so that its
    own upgrade breaks none.

    Changes of the [[link]] tables of --config take effect at once; SIGHUP makes the daemon read the
    file again.
    """
    log.configure(settings.log_format, settings.log_level, sys.stdout)
    try:
        app.run(settings)
    except app.CannotRunError as error:
        fail(str(error), FAILED)
