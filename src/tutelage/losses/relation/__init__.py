"""Relation losses: they compare the relations between samples, tokens or layers."""
