"""The names of published methods, one file a kind."""
