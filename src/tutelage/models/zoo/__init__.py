"""One file a family of networks."""
