"""The trial itself: records, configuration, privacy, assignment, routing and the command."""

__version__ = "0.1.0"
__all__ = ["__version__"]
