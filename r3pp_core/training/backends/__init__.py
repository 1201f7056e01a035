"""How processes share the work of a run. One interface: that of `single.SingleBackend`, which the others refine."""
