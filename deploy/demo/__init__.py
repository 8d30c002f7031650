"""`make demo`: what relinkd does for a link, on a real engine, seen from outside relinkd.

It runs on your engine if one answers here, else on a private one of tests/lab. What is said to be
seen was read from the recipient's hosts file, from the engine's events, and from what containers
answered; relinkd's own word is asked for at the end alone.
"""
