"""A config file with `[[link]]` tables."""

from reconciler.links.declare import ConfigLink

GOOD = """\
[[link]]
recipient = "web-*"
source = "db"
alias = "database"
network = "back"
wait-for = "healthy"

[[link]]
recipient = "shop/*"
source = "/legacy"
"""


def link(recipient: str = "web", source: str = "db", alias: str | None = None) -> ConfigLink:
    return ConfigLink(recipient, source, alias)
