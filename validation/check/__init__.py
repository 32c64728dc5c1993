"""Generates on held-out rows and checks programs, calls and emulation."""
