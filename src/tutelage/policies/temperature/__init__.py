"""What the logits of both sides are divided by."""
