"""Baselines: other ways to retrain or to prune, one a file, in the same loop and at a counted cost."""

from workbench.retrain.baselines.ablation import Ablation
from workbench.retrain.baselines.anp import ANP
from workbench.retrain.baselines.fine_pruning import FinePruning
from workbench.retrain.baselines.input_at import InputAT
from workbench.retrain.baselines.weight_noise import WeightNoise

__all__ = ["ANP", "Ablation", "FinePruning", "InputAT", "WeightNoise"]
