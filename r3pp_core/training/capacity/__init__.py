"""Whether a run fits: memory of a card, hours, and disk, from the config alone and before anything is loaded."""
