"""Policies decide a term's weight, its temperature and the weights of its samples in training: one file per policy."""
