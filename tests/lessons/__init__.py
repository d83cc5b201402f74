"""Numbers of published code through whole schemes: what a vector gives, said by networks; one file a kind."""
