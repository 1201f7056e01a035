"""The embedded sample: one seeded world of facts drawn as phone screens, charts and infographics."""
