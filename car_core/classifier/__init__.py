"""v and g: visual prompts, image features, the similarity matrix P."""
