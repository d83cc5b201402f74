"""Losses of several teachers."""
