"""The pull request's door: both arms review, some findings are posted, what people do is collected."""
