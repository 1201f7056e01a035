"""The data sets: one file each, and their registry. See `registry.DATASETS`."""
