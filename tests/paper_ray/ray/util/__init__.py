"""Parts of Ray by the side."""
