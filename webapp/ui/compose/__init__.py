"""Several controls in one picture: the layers, and the editor in the middle."""
