"""Makes prepared data: train.jsonl, val.jsonl and a manifest from a source file."""
