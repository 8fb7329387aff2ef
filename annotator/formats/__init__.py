"""Files of other programs that hold documents."""
