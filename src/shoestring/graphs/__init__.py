"""Graph neural networks on graphs larger than memory, and on clusters with slow links."""
