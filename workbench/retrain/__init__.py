"""Retraining: recipes, the attacks they train against, and one loop."""

from workbench.retrain.loop import Checkpoint, Step, retrain
from workbench.retrain.recipes import LAT, EmbeddingAT, FineTune, LatentNoise, Recipe

__all__ = ["LAT", "Checkpoint", "EmbeddingAT", "FineTune", "LatentNoise", "Recipe", "Step", "retrain"]
