"""R3++ on Dagster: assets, checks, resources and automation around r3pp_core."""
