"""Code benchmarks and scores of generated code."""
