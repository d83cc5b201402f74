"""References of published methods, one file per group of losses."""
