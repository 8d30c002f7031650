"""Observe a Docker engine and the files that it writes; decide nothing and change nothing."""
