"""Where a drawing comes from (the hand, shapes, an example, a photo), and what lies under it."""
