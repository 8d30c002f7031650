"""Publish what this host runs in the fleet's store."""
