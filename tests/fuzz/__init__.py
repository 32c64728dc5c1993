"""Mutates what this project reads: no traceback, no wrong "ok". One module a target."""
