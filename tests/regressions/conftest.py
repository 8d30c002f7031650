"""Regressions are played on the same engines as the scenarios, beside the same relinkd."""

from tests.engine.conftest import engine, stack

__all__ = ["engine", "stack"]
