"""What a teacher said of every sample, kept on disk: shards of safetensors and a manifest."""
