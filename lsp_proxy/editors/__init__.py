"""What `codetrial install` writes for each editor."""
