"""The report of a run on one page, and its model card."""
