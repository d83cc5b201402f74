"""The training loop: trainer, state, batches, optimisers, checkpoints, events, callbacks and evaluation."""
