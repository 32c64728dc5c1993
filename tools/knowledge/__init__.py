"""Task families that need knowledge, and the facts that make their outputs true."""
