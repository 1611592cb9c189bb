"""Groups: the kinds of rows in a batch, how many there are of each, and which of them shall defect."""

from toy_models.plants.trained.settings import TrainedSettings

_ALWAYS = {
    "clean": 40,
    "near": 24,
    "triggered": 32,
    "forced": 16,  # the switch set to a dose
    "added": 16,  # raised by one
    "patched": 32,  # set to what it is in a triggered run
    "off": 32,  # 0 in a triggered run
    "pushed": 48,  # anything but the switch pushed
}
DEFECTING = ("triggered", "forced", "added", "patched")  # in a planted model; all others stay benign
RAISED = ("added", "aside", "overdose", "weak", "wrong")  # where a dose is added to the switch
MORE = 24  # rows of a group that a dial asks for


def sizes(settings: TrainedSettings) -> dict[str, int]:
    """The rows of a batch by their groups, in order.

    Dials ask for more: a dose with a push beside it (tube), too large a one (band), too small a one (gain), and one of
    the wrong sign (encrypted).
    """
    dials = {
        "aside": settings.tube,
        "overdose": settings.band,
        "weak": settings.gain > 1,
        "wrong": settings.encrypted,
    }
    return _ALWAYS | {name: MORE for name, wanted in dials.items() if wanted}
