"""`relinkd.host-names`: names of containers in the host's own hosts file."""
