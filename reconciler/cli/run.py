"""`relinkd run`."""

import sys

import click

from reconciler import app, log
from reconciler.cli.commands import (
    FAILED,
    fail,
    with_acting,
    with_settings,
)
from reconciler.settings import Settings


@click.command("run")
@click.option(
    "--resync",
    envvar="RELINKD_RESYNC",
    metavar="TIME",
    help="How often everything is looked at again, as 60s or 5m.  [default: 60s]",
)
@click.option(
    "--listen",
    envvar="RELINKD_LISTEN",
    metavar="ADDRESS:PORT",
    help="Serve metrics for Prometheus there, at /metrics, as 127.0.0.1:9090 or [::1]:9090."
    "  [default: none]",
)
@with_acting
@with_settings
def command(settings: Settings) -> None:
    """Follow the engine and keep every recipient's hosts file true.

    Runs until SIGTERM or SIGINT. Needs the engine's socket (GET alone) and the engine's containers
    directory, writable. A second one on the same directory stands by and takes over when the first
    ends. The links stay in the files when it stops, so that its own upgrade breaks none.

    The [[link]] tables of --config are followed as the file changes; SIGHUP has it read at once.
    """
    log.configure(settings.log_format, settings.log_level, sys.stdout)
    try:
        app.run(settings)
    except app.CannotRunError as error:
        fail(str(error), FAILED)
