"""What a term counts beside the others."""
