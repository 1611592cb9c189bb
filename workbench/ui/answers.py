"""What an Agent answers without and with edits, token by token; how much of what edits do is left elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

import workbench as wb
from workbench.agent import Agent
from workbench.errors import WorkbenchError
from workbench.goals import UntargetedLoss
from workbench.prompts import Prompts
from workbench.ui.history import Edits
from workbench.ui.views import as_words


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers to some prompts: tokens [prompt, answer], how likely each is, and the mean loss in nats."""

    tokens: np.ndarray
    chances: np.ndarray
    loss: float

    @classmethod
    def of(cls, agent: Agent, prompts: Prompts, edits: Edits = ()) -> "Answers":
        """Of an Agent under Edits, which apply jointly. Raises BadEdit or UnknownSite where these do not fit it."""
        logits = agent.logits(prompts, edits).float()
        chances, tokens = logits.softmax(-1).max(-1)
        loss = UntargetedLoss().loss(logits[None], logits, prompts.answers.to(logits.device))
        return cls(tokens.cpu().numpy(), chances.cpu().numpy(), float(loss))

    def share(self, other: np.ndarray) -> float:
        """The share of answers that are those."""
        return float((self.tokens == other).mean())


def side_by_side(agent: Agent, prompts: Prompts, ways: Mapping[str, Answers], first: int = 0) -> pd.DataFrame:
    """One row an answer: prompt, position, the benign answer, and what is answered each way, with its probability.

    first: the number of the first prompt.
    """
    names, rows = agent.decode(prompts.answers), []
    told = {way: agent.decode(answers.tokens.tolist()) for way, answers in ways.items()}
    for i in range(len(prompts)):
        for j, position in enumerate(prompts.answer_positions):
            row: dict[str, object] = {"prompt": first + i, "position": position, "benign": as_words([names[i][j]])}
            for way, answers in ways.items():
                row[way] = as_words([told[way][i][j]])
                row[f"p {way}"] = float(answers.chances[i, j])
            rows.append(row)
    return pd.DataFrame(rows).set_index("prompt")


def driven(agent: Agent, prompts: Prompts, edits: Edits) -> pd.DataFrame:
    """What edits drive: for each answer position the share of answers changed, and the one that is given most often.

    usual: its share of the changed answers; nan where none is changed.
    """
    clean, under = Answers.of(agent, prompts), Answers.of(agent, prompts, edits)
    rows = []
    for j, position in enumerate(prompts.answer_positions):
        changed = under.tokens[:, j][under.tokens[:, j] != clean.tokens[:, j]]
        tokens, counts = np.unique(changed, return_counts=True)
        most = int(tokens[counts.argmax()]) if len(changed) else -1
        name = as_words(agent.decode([[most]])[0]) if len(changed) else ""
        usual = float(counts.max() / len(changed)) if len(changed) else nan
        rows.append({"position": position, "changed": len(changed) / len(prompts), "mostly to": name, "usual": usual})
    return pd.DataFrame(rows).set_index("position")


def rho(agent: Agent, prompts: Prompts, edits: Edits) -> float:
    """The size of Edits in residual norms; nan where that is undefined, or they overlap."""
    try:
        return wb.L2Ball(1.0).bind(agent, [edit.site for edit in edits], prompts).size(edits) if edits else 0.0
    except WorkbenchError:
        return nan


def remains(of: Answers, unedited: Answers, there: Answers, unedited_there: Answers) -> float:
    """How much of what edits elicit on one Agent they still elicit on another, a share of answers in [0, 1].

    Counted over the answers that they change on the first Agent (`of` against `unedited`): those that are changed to
    the same on the other (`there` against `unedited_there`). nan where nothing is changed on the first.
    """
    changed = of.tokens != unedited.tokens
    same = (there.tokens == of.tokens) & (there.tokens != unedited_there.tokens)
    return float(same[changed].mean()) if changed.any() else nan
