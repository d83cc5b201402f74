"""Sequence losses: they compare language models' predictions of tokens."""
