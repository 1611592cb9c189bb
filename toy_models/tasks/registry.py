"""Registry: every task by its name. A new one is a file beside this one, and a name in the list."""

from toy_models.tasks.copying import Copying
from toy_models.tasks.maximum import Maximum
from toy_models.tasks.modular_addition import ModularAddition
from toy_models.tasks.nonce import Nonce
from toy_models.tasks.protocol import Task
from toy_models.tasks.recall import Recall
from toy_models.tasks.reversal import Reversal
from toy_models.tasks.rotation import Rotation
from toy_models.tasks.sorting import Sorting

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Reversal, ModularAddition, Sorting, Recall, Rotation, Maximum, Copying, Nonce)
}
