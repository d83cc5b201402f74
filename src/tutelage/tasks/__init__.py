"""Tasks, one per file: the task loss and the metrics of students."""
