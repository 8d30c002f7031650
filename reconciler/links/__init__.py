"""Which recipient links to which source, at which address, and why. Pure; knows no file."""
