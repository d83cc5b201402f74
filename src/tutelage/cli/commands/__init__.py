"""The sub-commands: a file's first line is the summary in help, and its `app` is the command."""
