"""Evidence before any trial: the team's own history, its own coding tasks, and what a live trial would take."""
