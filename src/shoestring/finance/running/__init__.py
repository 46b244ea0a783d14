"""The one path from data to weights, and the checks that it does not look ahead."""
