"""Evidence retrieval: encoders, index building, exact and approximate search, and the checks of an index."""
