"""The errors of an engine. Each text has what happened and what the user can do."""

from typing import TypeVar

E = TypeVar("E", bound=Exception)


class EngineError(Exception):
    """A question to the engine failed."""


class EngineGoneError(EngineError):
    """The engine is out of reach, too slow, or cut the connection: another try may succeed."""


class EngineSilentError(EngineGoneError):
    """The stream was silent for so long that a proxy may have cut it: open a new one."""


class EngineFailedError(EngineError):
    """The engine answered with an error, with an unexpected body, or too late."""


class EngineRefusedError(EngineFailedError):
    """The engine, or a proxy or plugin in front of it, refuses such a question."""


class EngineUnusableError(EngineError):
    """relinkd cannot use this engine as it is: too old, no permission, not an engine."""


class AddressError(EngineUnusableError):
    """The engine's address can never work: a setting is wrong."""


class NotFoundError(EngineError):
    """The container or network no longer exists. This is not a fault."""


def first_of(group: BaseExceptionGroup[E]) -> E:
    """Return one error of a group: one fault of an engine breaks the stream and every question."""
    while True:
        error = group.exceptions[0]
        if not isinstance(error, BaseExceptionGroup):
            return error
        group = error
