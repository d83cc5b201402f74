"""What each sample counts in a term."""
