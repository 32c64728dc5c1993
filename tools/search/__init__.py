"""CoTACS (arXiv 2405.16337, section 2.2): fits a task by searching for a program that solves it."""
