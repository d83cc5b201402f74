"""A run's keys."""
