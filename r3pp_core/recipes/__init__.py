"""Complete run configurations, as functions. See `registry.recipe`."""
