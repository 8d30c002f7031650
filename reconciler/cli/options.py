"""Options and settings of commands: the user's own, completed by the running daemon's."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from reconciler.cli.commands import USAGE, fail, note
from reconciler.hosts.directory import USUAL
from reconciler.links.declare import KINDS
from reconciler.links.options import POWERS
from reconciler.settings import (
    RUN_DIR,
    Settings,
    SettingsError,
    load,
    names,
    unknown_variable,
)
from watchers.address import find
from watchers.errors import AddressError, EngineError

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = [
    click.option(
        "-H",
        "--engine",
        envvar="RELINKD_ENGINE",
        metavar="ADDRESS",
        help="The engine's address, unix:///path or tcp://host:port. Default: as docker finds it"
        " (DOCKER_HOST, DOCKER_CONTEXT, the current context, the usual sockets).",
    ),
    click.option(
        "--containers-dir",
        envvar="RELINKD_CONTAINERS_DIR",
        metavar="DIR",
        help="Where the engine's containers directory is mounted.  [default: the engine's own path,"
        f" or {USUAL}]",
    ),
    click.option(
        "--declared-by",
        envvar="RELINKD_DECLARED_BY",
        metavar="KINDS",
        help=f"The declarations to obey, separated by commas.  [default: {','.join(KINDS)}]",
    ),
    click.option(
        "--routed",
        envvar="RELINKD_ROUTED",
        metavar="NETWORKS",
        help="Networks whose containers reach those of other hosts, and are reached by them: names"
        " or ranges such as 10.28.0.0/16, separated by commas; the other hosts say the same words.",
    ),
    click.option(
        "--run-dir",
        envvar="RELINKD_RUN_DIR",
        metavar="DIR",
        help="The directory of the daemon's socket, which answers `relinkd health` and the other"
        f" commands.  [default: {RUN_DIR}]",
    ),
    click.option(
        "--log-format",
        envvar="RELINKD_LOG_FORMAT",
        metavar="auto|json|console",
        help="The format of log lines; auto is console on a terminal and JSON elsewhere."
        "  [default: auto]",
    ),
    click.option(
        "--log-level",
        envvar="RELINKD_LOG_LEVEL",
        metavar="debug|info|warning|error",
        help="The lowest level to log.  [default: info]",
    ),
    click.option(
        "--config",
        envvar="RELINKD_CONFIG",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A TOML file with these settings, named as the flags are, and with [[link]] tables:"
        " links of containers that carry no label (recipient, source, alias, network, wait-for).",
    ),
]

_DELIVERY = click.option(
    "--delivery",
    envvar="RELINKD_DELIVERY",
    metavar="path|exec|auto",
    help="How relinkd reaches hosts files: path, in the engine's containers directory; exec, by a"
    " command in each container, which is later, does not reach all and needs --allow exec; auto,"
    " exec if the directory cannot be opened.  [default: path]",
)


def _exec_alone(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Drop all powers but `exec`, which is the only one that reading hosts files needs."""
    return "exec" if "exec" in {part.strip() for part in (value or "").split(",")} else None


_READING_OPTIONS = [
    _DELIVERY,
    click.option(
        "--allow",
        envvar="RELINKD_ALLOW",
        metavar="POWERS",
        callback=_exec_alone,
        help="As for the daemon: --delivery exec needs exec. This command changes nothing with it.",
    ),
]


_FLEET_OPTIONS = [
    click.option(
        "--fleet",
        envvar="RELINKD_FLEET",
        metavar="etcd://HOST:PORT,...",
        help="The members of the etcd that all hosts of a fleet share; etcds:// with TLS. There the"
        " daemon publishes what this host runs, and finds the sources that recipients declare as"
        " HOST//SOURCE.  [default: none]",
    ),
    click.option(
        "--fleet-prefix",
        envvar="RELINKD_FLEET_PREFIX",
        metavar="/WORD",
        help="All keys of the fleet are below it; another prefix is another fleet."
        "  [default: /relinkd]",
    ),
    click.option(
        "--fleet-lease",
        envvar="RELINKD_FLEET_LEASE",
        metavar="TIME",
        help="What this host publishes ends this long after its last sign of life; and what other"
        " hosts publish counts here this long after the store's last answer.  [default: 10s]",
    ),
    click.option(
        "--fleet-address",
        envvar="RELINKD_FLEET_ADDRESS",
        metavar="ADDRESS",
        help="This host's address, as other hosts reach it, for sources declared with @published."
        "  [default: the one towards the store, if that is not a container's]",
    ),
    click.option(
        "--fleet-ca",
        envvar="RELINKD_FLEET_CA",
        metavar="FILE",
        help="The certificates, in PEM form, that may have signed those of the store's members."
        "  [default: those that this machine trusts]",
    ),
    click.option(
        "--fleet-cert",
        envvar="RELINKD_FLEET_CERT",
        metavar="FILE",
        help="relinkd's own certificate, where the store asks for one, with --fleet-key.",
    ),
    click.option(
        "--fleet-key",
        envvar="RELINKD_FLEET_KEY",
        metavar="FILE",
        help="The key of that certificate.",
    ),
    click.option(
        "--fleet-user",
        envvar="RELINKD_FLEET_USER",
        metavar="NAME",
        help="relinkd's user in the store, if that asks for one. The password is in"
        " --fleet-password-file, or in RELINKD_FLEET_PASSWORD.",
    ),
    click.option(
        "--fleet-password-file",
        envvar="RELINKD_FLEET_PASSWORD_FILE",
        metavar="FILE",
        help="A file with that user's password and nothing else.",
    ),
]


def with_fleet(function: F) -> F:
    """Add the options of commands that ask the fleet's store."""
    for option in reversed(_FLEET_OPTIONS):
        function = option(function)
    return function


def with_reading(function: F) -> F:
    """Add the options of commands that read hosts files and change nothing."""
    for option in reversed([*_READING_OPTIONS, *_FLEET_OPTIONS]):
        function = option(function)
    return function


def with_every(function: F) -> F:
    """Add the option that shows each alias in a row of its own; the command gets `every`."""
    return click.option(
        "--all",
        "every",
        is_flag=True,
        help="Show each alias on its own, also if Compose wrote three for one link.",
    )(function)


_ACTING_OPTIONS = [
    _DELIVERY,
    click.option(
        "--allow",
        envvar="RELINKD_ALLOW",
        metavar="POWERS",
        help="What relinkd may do beyond hosts files, for containers whose labels ask for it,"
        f" separated by commas: {', '.join(POWERS)}.  [default: none]",
    ),
    click.option(
        "--host-names-file",
        envvar="RELINKD_HOST_NAMES_FILE",
        metavar="FILE",
        help="The host's own hosts file, mounted here as a file, for --allow host-names. After an"
        " editor on the host put a new file in its place, restart relinkd's container.",
    ),
    click.option(
        "--host-names-suffix",
        envvar="RELINKD_HOST_NAMES_SUFFIX",
        metavar="SUFFIX",
        help="The end that every name in it must have.  [default: .docker]",
    ),
    click.option(
        "--private-pool",
        envvar="RELINKD_PRIVATE_POOL",
        metavar="SUBNET",
        help="The pool of private networks, a /28 each.  [default: 10.213.0.0/16]",
    ),
]


def with_acting(function: F) -> F:
    """Add the options of commands that do, check or undo what `--allow` permits."""
    for option in reversed([*_ACTING_OPTIONS, *_FLEET_OPTIONS]):
        function = option(function)
    return function


def with_own_settings(function: F) -> F:
    """Add the options of every command; the command gets `settings`, the user's own."""
    return _with(function, lambda own: own)


def with_settings(function: F) -> F:
    """Add the same options; the running daemon's settings fill in what the user did not set."""
    return _with(function, _shared)


def with_engine(function: F) -> F:
    """Add the same options, for a command that asks only the engine and needs no daemon."""
    return _with(function, lambda own: _shared(own, alone=True))


def _shared(own: Settings, *, alone: bool = False) -> Settings:
    from reconciler.cli.daemon import effective  # noqa: PLC0415 - not for the daemon itself

    settings, notes = effective(own, alone=alone)
    for each in notes:
        note(each)
    return settings


def _with(function: F, settled: Callable[[Settings], Settings]) -> F:
    def wrapped(config: Path | None, **values: Any) -> Any:
        context = click.get_current_context()
        by_name = {name: name.replace("-", "_") for name in names()}
        given = {name: values.pop(each) for name, each in by_name.items() if each in values}
        variables = [
            name
            for name, each in by_name.items()
            if context.get_parameter_source(each) is ParameterSource.ENVIRONMENT
        ]
        if problem := unknown_variable(os.environ):
            fail(problem, USAGE)
        try:
            settings = load(config, given, variables)
        except SettingsError as error:
            fail(str(error), USAGE)
        if problem := _address_problem(settings):
            fail(problem, USAGE)
        return function(settings=settled(settings), **values)

    wrapped.__doc__ = function.__doc__
    wrapped.__name__ = function.__name__
    wrapped.__click_params__ = list(getattr(function, "__click_params__", []))  # type: ignore[attr-defined] # where click keeps them
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value] # the same but for the options


def _address_problem(settings: Settings) -> str | None:
    """Return the problem of an engine's address that can never work; None if it can."""
    try:
        find(settings.engine)
    except AddressError as error:
        where = {"flag": "--engine", "variable": "RELINKD_ENGINE", "file": str(settings.config)}
        given = where.get(settings.origin("engine"))
        return f"{given}: {error}" if given else str(error)
    except (EngineError, OSError):
        return None  # the command itself reports it
    return None
