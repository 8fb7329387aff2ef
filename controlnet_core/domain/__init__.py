"""The nouns that everything speaks of: documents, conditions, recipes, detections, jobs, pictures and errors. No torch, no disk."""
