"""The picture world itself: scenes, their pictures, their captions and their exact truth. Knows no network."""
