"""What runs inside a training: the Axolotl plugins, resuming, the record of a run."""
