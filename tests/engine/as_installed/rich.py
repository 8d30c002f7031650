"""Stands before the rich that tools of ours bring along: the image has none, and logs load it."""

raise ImportError("no requirement of relinkd's")
