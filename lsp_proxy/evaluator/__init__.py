"""The language server beside the relay: it evaluates, the editor never waits for it."""
