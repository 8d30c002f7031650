"""Decide what recipients should read, and write it."""
