"""The editor's door: carry its traffic to the language server, and observe what completions do."""
