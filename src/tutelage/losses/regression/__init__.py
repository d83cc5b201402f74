"""Regression losses: they compare the networks' estimates."""
