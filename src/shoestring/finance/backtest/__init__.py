"""What weights earn: the net asset value after costs, its figures, a page that shows them."""
