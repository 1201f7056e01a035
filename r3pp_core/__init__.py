"""R3++ as a library: no Dagster, no globals, nothing heavy at import."""
