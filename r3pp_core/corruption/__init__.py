"""Damage to pictures and their text: seeded, graded by one level, and coupled (see simulator.corrupt)."""
