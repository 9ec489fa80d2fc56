"""What the editor waits for: standard library only."""
