"""A student that teaches itself: its depths, its past, its other views."""
