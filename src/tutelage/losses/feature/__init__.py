"""Feature losses: comparisons of intermediate features."""
