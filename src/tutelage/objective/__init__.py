"""Losses wired to layers and weights, and who is trained by them."""
