"""Temperatures by which the logits of both sides are divided."""
