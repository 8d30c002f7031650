"""Observe a Docker engine and the files it writes; decide and change nothing."""
