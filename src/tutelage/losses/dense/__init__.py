"""Losses of dense prediction: maps of responses and features, per position or per channel."""
