"""What runs inside training: the Axolotl plugins, resuming, the record of a run."""
