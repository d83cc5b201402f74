"""Response losses: they compare the networks' outputs."""
