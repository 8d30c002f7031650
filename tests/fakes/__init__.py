"""A Docker engine that needs no machine: real shapes and orders, and faults on demand."""
