"""Judges a run by the trainer's own state."""
