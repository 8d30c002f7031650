"""Texts and pictures of links and files, for commands and logs. Pure."""
