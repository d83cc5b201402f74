"""The names of the streams of training data."""

LABELLED = "labelled"
"""The stream whose targets are used."""

STREAMS = (LABELLED, "unlabelled", "target")
"""All streams, in the order of a batch."""
