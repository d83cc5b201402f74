"""Losses for robust students on attacked inputs, and the attacks that generate them."""
