"""Explains a finished run: why teaching helped or didn't, in figures of its trained networks."""
