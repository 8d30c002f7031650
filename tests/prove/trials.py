"""All trials, in the order of the report."""

from tests.prove import deaths, floods, longrun, restarts
from tests.prove.trial import TRIALS, Ground

__all__ = ["TRIALS", "Ground", "deaths", "floods", "longrun", "restarts"]
