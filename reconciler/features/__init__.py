"""Side effects that need both `--allow` and a label: a folder each, independent of each other."""
