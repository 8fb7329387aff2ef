"""The pages: thin arrangements of what `webapp` offers. One studio page serves every condition."""
