"""Modules that networks, connectors and losses are built of."""
