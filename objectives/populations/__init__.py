"""Many heads trained at once, to the numbers of one at a time."""
