"""Weights of a term relative to the others."""
