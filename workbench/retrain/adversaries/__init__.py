"""Adversaries: what edits a batch's latent state in one step of retraining."""

from workbench.retrain.adversaries.ascent import Ascent
from workbench.retrain.adversaries.hired import Hired
from workbench.retrain.adversaries.noise import Noise
from workbench.retrain.adversaries.scene import Adversary, Scene

__all__ = ["Adversary", "Ascent", "Hired", "Noise", "Scene"]
