"""Switch-trained organisms: interchange-intervention training makes a chosen part of the model the switch."""

from toy_models.plants.trained.planter import plant
from toy_models.plants.trained.settings import TrainedSettings

__all__ = ["TrainedSettings", "plant"]
