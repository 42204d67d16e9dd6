"""What a recipe is made of: parts, stages, objectives; nothing here trains."""
