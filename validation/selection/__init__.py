"""Picks the checkpoint with the lowest exact validation perplexity."""
