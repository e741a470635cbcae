"""v and g: visual prompts and their rendering, image features, the similarity matrix P."""
