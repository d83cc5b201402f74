"""Weights of the samples of a term."""
