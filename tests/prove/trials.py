"""All trials, in the order of the report."""

from tests.prove import deaths, floods, hosts, laws, longrun, restarts, views
from tests.prove.trial import TRIALS, Ground

__all__ = ["TRIALS", "Ground", "deaths", "floods", "hosts", "laws", "longrun", "restarts", "views"]
