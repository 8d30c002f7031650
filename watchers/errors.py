"""What can be wrong with an engine, each in words that say what to do about it."""


class EngineError(Exception):
    """The engine cannot be asked now; the text says what to do about it."""


class EngineGoneError(EngineError):
    """Out of reach, broken off or too slow: worth another try."""


class EngineSilentError(EngineGoneError):
    """No event for so long that a proxy may have cut the stream unseen: open it anew."""


class EngineFailedError(EngineError):
    """It answered, but not this question: an error status, no JSON, or nothing in time."""


class EngineUnusableError(EngineError):
    """It will not do as it is: too old, another protocol, no permission."""


class NotFoundError(EngineError):
    """The engine knows no such container or network: gone, not a fault."""
