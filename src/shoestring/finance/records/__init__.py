"""What is kept: values under the hash of what made them, digests of data and code, and what happens once."""
