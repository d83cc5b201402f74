"""Training schemes, one per file: which networks learn from which outputs, and in which order."""
