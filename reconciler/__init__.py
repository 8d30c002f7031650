"""Decide what recipients' hosts files should hold, and write it."""
