"""`relinkd.private`: an internal network for each source and its recipients."""
