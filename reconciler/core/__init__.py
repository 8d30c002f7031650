"""Decide: text and mirror in; desired text, edits and rows out. Nothing here does I/O."""
