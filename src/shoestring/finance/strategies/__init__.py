"""What a user writes: the interface of a strategy, parts to put one together from, and how it is found."""
