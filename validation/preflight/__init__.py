"""Is a run worth its GPU hours? One module for each kind of check before launch."""
