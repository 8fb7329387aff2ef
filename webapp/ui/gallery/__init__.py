"""What was made: the wall, the Jobs drawer, and the way from a picture back to the page that made it."""
