"""The code track's data: tasks with their tests, made into rows of prompt and solution."""
