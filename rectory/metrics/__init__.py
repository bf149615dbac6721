"""Ranking metrics as pure functions on arrays; models use them for early stopping too."""
