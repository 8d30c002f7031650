"""The lab: real Docker engines in private network namespaces, in three versions."""
