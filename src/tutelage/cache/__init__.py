"""A teacher's outputs for every sample, cached on disk: shards of safetensors and a manifest."""
