"""Training: its config, the order of the data, one loop, and checkpoints. `python -m r3pp_core.training` starts it."""
