"""Templates of small tasks, one module for each category of the synthetic rows."""
