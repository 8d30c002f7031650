"""What `--listen` serves over HTTP: read-only; imported with it alone."""
