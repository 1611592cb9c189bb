"""Retraining: recipes, the adversaries they train against, schedules, and one loop."""

from workbench.retrain.baselines import ANP, Ablation, FinePruning, InputAT, WeightNoise
from workbench.retrain.checkpoint import Checkpoint
from workbench.retrain.kept import kept, resume_point
from workbench.retrain.loop import Step, retrain
from workbench.retrain.protocol import Recipe
from workbench.retrain.recipes import LAT, EmbeddingAT, FineTune, LatentNoise
from workbench.retrain.schedules import Lockstep, Loosen, MoreCompute, Schedule, Steady
from workbench.retrain.streams import Stream

__all__ = [
    "ANP",
    "LAT",
    "Ablation",
    "Checkpoint",
    "EmbeddingAT",
    "FinePruning",
    "FineTune",
    "InputAT",
    "LatentNoise",
    "Lockstep",
    "Loosen",
    "MoreCompute",
    "Recipe",
    "Schedule",
    "Steady",
    "Step",
    "Stream",
    "WeightNoise",
    "kept",
    "resume_point",
    "retrain",
]
