"""What is kept on disk: blobs under their digest, the gallery with its index, recipes in PNGs. No torch."""
