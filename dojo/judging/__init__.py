"""A run of pytest: what it judges, and what it tells."""
