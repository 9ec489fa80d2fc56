"""The models of a trial, one module per API spoken."""
