"""Places by name: `L1.mlp.42` as somebody types it, read into sites, neurons and positions, and written back."""

import re
from dataclasses import dataclass

from workbench.agent import Agent
from workbench.errors import UnknownSite, WorkbenchError, closest
from workbench.sites import Site

SHORTCUTS = {"mlp": "mlp.post", "attn": "attn.z", "resid": "resid_post"}
"""What may be left out: the hook points that are meant most often."""
_TERM = re.compile(r"^(?P<site>[A-Za-z_][\w.]*?)(?:\.(?P<neurons>[\d,-]+))?(?:@(?P<positions>[\d,-]+))?$")
_HELP = "Write L1.mlp.42, L1.mlp.post.3,5-8, L0.resid_post@2,4 or several of them with blanks between."


class BadPlace(WorkbenchError):
    """Text that names no place of the model at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is selected, in all panels: sites, neurons of the first of them, positions (None: all)."""

    sites: tuple[Site, ...] = ()
    neurons: tuple[int, ...] = ()
    positions: tuple[int, ...] | None = None

    def text(self) -> str:
        """The selection as it would be typed."""
        neurons = f".{_ranges(self.neurons)}" if self.neurons else ""
        positions = f"@{_ranges(self.positions)}" if self.positions else ""
        first, rest = self.sites[:1], self.sites[1:]
        return " ".join([*(f"{s.short}{neurons}{positions}" for s in first), *(s.short for s in rest)])


def read_places(agent: Agent, text: str, length: int) -> Selection:
    """The selection that a text names, in a model and prompts of that length; nothing for an empty text.

    A term is a site, with `.neurons` and `@positions` where wanted, as single numbers and ranges: `L1.mlp.3,5-8@2`.
    Neurons and positions belong to the first site that has some. Raises BadPlace where there is no such place.
    """
    terms = [_Term.read(agent, word, length) for word in re.split(r"[\s;]+", text.strip()) if word]
    chosen = next((term for term in terms if term.neurons or term.positions), terms[0] if terms else None)
    if chosen is None:
        return Selection()
    several = [term for term in terms if term.neurons and term.site != chosen.site]
    if several:
        raise BadPlace(f"expected neurons at one site, got some at {chosen.site} and at {several[0].site}. {_HELP}")
    same = [term for term in terms if term.site == chosen.site]
    neurons = tuple(sorted({n for term in same for n in term.neurons}))
    positions = tuple(sorted({p for term in same for p in term.positions}))
    sites = dict.fromkeys([chosen.site, *(term.site for term in terms)])
    return Selection(sites=tuple(sites), neurons=neurons, positions=positions or None)


@dataclass(frozen=True, slots=True)
class _Term:
    """One word: a site, neurons and positions."""

    site: Site
    neurons: tuple[int, ...]
    positions: tuple[int, ...]

    @classmethod
    def read(cls, agent: Agent, word: str, length: int) -> "_Term":
        found = _TERM.match(word)
        if found is None:
            raise BadPlace(f"expected a place of the model, got {word[:80]!r}. {_HELP}")
        site = _site(agent, found["site"])
        neurons = _numbers(found["neurons"], agent.width(site), f"neurons of {site}")
        return cls(site, neurons, _numbers(found["positions"], length, "positions of the prompts"))


def _site(agent: Agent, name: str) -> Site:
    """The site of that name, where the last part of some names may be left out."""
    layer, _, rest = name.partition(".")
    try:
        return agent.site(f"{layer}.{SHORTCUTS.get(rest, rest)}" if rest else name)
    except UnknownSite:
        known = [site.short for site in agent.sites()]
        short = [f"L{layer}.{word}" for layer in range(agent.n_layers) for word in SHORTCUTS]
        near = closest(name, [*short, *known])
        raise BadPlace(
            f"no place {name[:80]!r} in {agent.name} ({len(known)} sites). Closest: {near}. {_HELP}"
        ) from None


def _numbers(text: str | None, below: int, what: str) -> tuple[int, ...]:
    """Single numbers and ranges in 0..below-1; BadPlace for others."""
    if not text:
        return ()
    found: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if first > last or last >= below:
            raise BadPlace(f"expected {what} in 0..{below - 1}, such as 3,5-8, got {text[:80]!r}.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _ranges(numbers: tuple[int, ...]) -> str:
    """`3,5-8` for 3, 5, 6, 7, 8."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
