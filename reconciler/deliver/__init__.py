"""The only places that act."""
