"""Deposit files of ETFs: which shares make one creation unit on which day, and what they are worth."""
