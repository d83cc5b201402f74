"""Data sources: each file has NAMES (pattern: summary) and `find(kind, where, size)`, which returns SourceData."""
