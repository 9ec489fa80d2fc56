"""A stand-in for GitHub: for the tests, and in the wheel as `pr_bot.fakehub` for `codetrial pr demo`.

One source under two names, so imports in here are relative.
"""
