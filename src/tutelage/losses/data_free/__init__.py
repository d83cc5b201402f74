"""Data-free losses: they shape generated images, or train the student on them."""
