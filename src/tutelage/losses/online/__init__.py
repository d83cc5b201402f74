"""Losses of peers that are trained together."""
