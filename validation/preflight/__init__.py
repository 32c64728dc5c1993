"""Is a run worth its GPU hours? One module for each thing that is looked at beforehand."""
