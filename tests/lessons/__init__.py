"""Reference numbers of published code through whole schemes; networks output a vector's inputs. One file per kind."""
