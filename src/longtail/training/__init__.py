"""Training: stages and recipes, objectives, and the one loop."""
