"""The Agent: a TransformerLens bridge behind one door. The core's only import of transformer_lens."""

import copy
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.edits import Edit, as_edits
from workbench.errors import BadCheckpoint, BadEdit, BadPrompts, BadSettings, UnknownSite, closest
from workbench.fused import apart, tie
from workbench.hooks import adding, usable_sites
from workbench.pretrained import Pretrained, check_agreement, open_pretrained, some_answers
from workbench.prompts import Prompts
from workbench.sites import Site
from workbench.store import check_tensors, digest_of, read_json, read_tensors, write_json, write_tensors
from workbench.writes import is_written, read_off

os.environ.setdefault("WANDB_MODE", "disabled")  # a dependency of transformer_lens; it logs only when asked to

from transformer_lens import TransformerBridge, TransformerBridgeConfig
from transformer_lens.model_bridge.sources import build_bridge_from_module

_FORMAT = "lat-workbench agent"
_LOGITS_AT_ONCE = 2**22  # while activations are read: a whole bridge makes logits that nobody asked for
_TOY = 5_000_000  # parameters


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Names for tokens, for Agents without a tokenizer; `query` names the token at which answers are read."""

    names: tuple[str, ...]
    query: str | None = None

    def number(self, name: str) -> int:
        """The token of that name. Raises BadPrompts for a name that there is not."""
        if name not in self.names:
            raise BadPrompts(f"{name!r} is not in the vocabulary of {len(self.names)}: {closest(name, self.names)}?")
        return self.names.index(name)


@dataclass(eq=False)
class Agent:
    """The model under study: any TransformerBridge.

    device: "auto" takes a GPU where there is one. The bridge is moved there and put in evaluation mode;
    its weights are used as they are, never changed: `retrain` works on a copy. Projections that the bridge split off
    a fused one, as in GPT-2's attention, are tied to the fused weights, so that there is one set of weights.
    """

    bridge: TransformerBridge
    name: str = field(default="agent", kw_only=True)
    device: Any = field(default="auto", kw_only=True)
    vocabulary: Vocabulary | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.bridge, TransformerBridge):
            raise BadSettings(
                f"expected a TransformerBridge, got {type(self.bridge).__name__}. "
                "Make one with TransformerBridge.boot_native or boot_transformers."
            )
        self.device = _device(self.device)
        if next(self.bridge.parameters()).device != self.device:
            self.bridge.to(self.device, print_details=False)
        tie(self.bridge)
        self.bridge.eval()
        self._sites: dict[Site, int] | None = None
        self._written: dict[Site, bool] = {}
        self._hooking = threading.RLock()

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, {self.n_layers} layers, d_model {self.d_model}, {self.device})"

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.bridge.cfg.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.bridge.cfg.d_model

    @property
    def d_vocab(self) -> int:
        """Number of tokens."""
        return self.bridge.cfg.d_vocab

    @property
    def is_toy(self) -> bool:
        """Whether it is so small that torch is fastest on one thread: handing work out costs more than it saves."""
        return sum(weight.numel() for weight in self.bridge.parameters()) <= _TOY

    # --- tokens -----------------------------------------------------------------------------------------

    @property
    def query_token(self) -> int | None:
        """The token at which toys read answers, or None."""
        known = self.vocabulary
        return known.number(known.query) if known is not None and known.query is not None else None

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """Tokens of a text: by the names of the vocabulary, else by the bridge's tokenizer.

        continues: the text follows another one, so no beginning-of-sequence token is added.
        """
        if self.vocabulary is not None:
            return [self.vocabulary.number(word) for word in text.split()]
        if self.bridge.tokenizer is None:
            raise BadPrompts(f"{self.name} has neither token names nor a tokenizer. Make Prompts from token numbers.")
        return self.bridge.tokenizer(text, add_special_tokens=not continues)["input_ids"]

    def decode(self, tokens: Tensor | Sequence[Sequence[int]] | Sequence[int]) -> list[list[str]]:
        """The name of each token of each row; [n] is taken as one row."""
        matrix = torch.as_tensor(tokens)
        rows = matrix.reshape(-1, matrix.shape[-1]).tolist()
        return [[self._token_name(token) for token in row] for row in rows]

    def _token_name(self, token: int) -> str:
        if self.vocabulary is not None and 0 <= token < len(self.vocabulary.names):
            return self.vocabulary.names[token]
        if self.vocabulary is None and self.bridge.tokenizer is not None:
            return self.bridge.tokenizer.decode([token])
        return str(token)

    # --- sites ------------------------------------------------------------------------------------------

    def sites(self) -> tuple[Site, ...]:
        """Every hook point with float activations [prompt, pos, width] at which an edit changes the output.

        Found by trying each on the live model; one name for each hook point, TransformerLens' own alias
        where there is one. Heads are flattened into the width.
        """
        return tuple(self._widths())

    def site(self, name: str | Site) -> Site:
        """The Site of that name, if this Agent has it; otherwise UnknownSite with the closest names."""
        site = Site.parse(name)
        if site in self._widths():
            return site
        hook = self.bridge.hook_dict.get(site.name)
        if hook is not None:
            for other in self._widths():
                if self.bridge.hook_dict[other.name] is hook:
                    return other
        known = [s.short for s in self._widths()]
        raise UnknownSite(
            f"no site {site.short!r} in {self.name} ({len(known)} sites). "
            f"Closest: {closest(site.short, known)}. agent.sites() lists them."
        )

    def several_sites(self, names: str | Site | Iterable[str | Site]) -> tuple[Site, ...]:
        """One Site or several, by name. Raises UnknownSite for one there is not, or for none at all."""
        given = [names] if isinstance(names, str | Site) else list(names)
        if not given:
            raise UnknownSite(f"expected at least one site of {self.name}, got none. agent.sites() lists them.")
        return tuple(self.site(name) for name in given)

    def width(self, site: str | Site) -> int:
        """Number of activations at each position of a Site, heads flattened."""
        return self._widths()[self.site(site)]

    def write(self, site: str | Site) -> Float[Tensor, "width d_model"] | None:
        """What one unit of each activation adds to the residual stream, or None where that is not linear.

        The identity for residual, attention-output and MLP-output sites, W_out at `mlp.hook_post`, W_O at
        `attn.hook_z`, where one edit, tried on the live model, did write that: None where a norm follows, as in
        Gemma's blocks. TransformerBridge's `hook_resid_mid` is the input of the second norm only: an edit there
        does not stay in the residual stream, so it has no linear write.
        """
        site = self.site(site)
        write = read_off(self.bridge, site, self.width(site))
        if write is None:
            return None
        if site not in self._written:
            self._written[site] = is_written(self.bridge, site, write, self.residual_site(site))
        return write if self._written[site] else None

    def residual_site(self, site: str | Site) -> Site:
        """Where the residual stream holds what an edit at that Site has written."""
        site = self.site(site)
        if site.layer is None:
            return self.site("blocks.0.hook_resid_pre")
        return site if site.kind == "hook_resid_pre" else Site(f"blocks.{site.layer}.hook_resid_post")

    def _widths(self) -> dict[Site, int]:
        if self._sites is None:
            self._sites = usable_sites(self.bridge, self.device)
        return self._sites

    # --- running ----------------------------------------------------------------------------------------

    def check(self, prompts: Prompts) -> None:
        """Raise BadPrompts unless this Agent can read the prompts."""
        highest = int(max(prompts.tokens.max(), prompts.answers.max()))
        lowest = int(min(prompts.tokens.min(), prompts.answers.min()))
        if lowest < 0 or highest >= self.d_vocab:
            raise BadPrompts(
                f"expected tokens in 0..{self.d_vocab - 1}, the vocabulary of {self.name}, got {lowest}..{highest}."
            )
        if prompts.length > self.bridge.cfg.n_ctx:
            raise BadPrompts(f"expected at most {self.bridge.cfg.n_ctx} tokens a prompt, got {prompts.length}.")

    def check_edits(self, edits: Sequence[Edit], prompts: Prompts) -> None:
        """Raise BadEdit or UnknownSite unless the Edits fit this Agent and these prompts."""
        for edit in edits:
            width = self.width(edit.site)
            if edit.width != width:
                raise BadEdit(f"expected a delta of width {width} at {edit.site} of {self.name}, got {edit.width}.")
            edit.at(prompts.length)

    @torch.no_grad()
    def logits(self, prompts: Prompts, edits: Edit | Sequence[Edit] = ()) -> Float[Tensor, "prompt answer vocab"]:
        """Logits at the answer positions, with all the Edits applied jointly. The reference path.

        Runs the whole bridge with hooks; they are gone afterwards, also after an exception.
        """
        several = as_edits(edits)
        self.check(prompts)
        self.check_edits(several, prompts)
        hooks = [(self.site(e.site).name, adding(e.at(prompts.length).to(self.device))) for e in several]
        with self.hooked(hooks):
            logits = self.bridge(prompts.tokens.to(self.device))
        return logits[:, list(prompts.answer_positions)]

    @torch.no_grad()
    def activations(self, prompts: Prompts, site: str | Site) -> Float[Tensor, "prompt pos width"]:
        """The unedited activations at a Site, heads flattened."""
        self.check(prompts)
        seen: list[Tensor] = []
        batch = max(1, _LOGITS_AT_ONCE // (prompts.length * self.d_vocab))
        with self.hooked([(self.site(site).name, lambda x, hook: seen.append(x.flatten(2).clone()))]):
            for tokens in prompts.tokens.to(self.device).split(batch):
                self.bridge(tokens)
        return torch.cat(seen)

    @contextmanager
    def hooked(self, hooks: Sequence[tuple[str, Callable[..., Any]]]) -> Iterator[None]:
        """The bridge with these forward hooks, for the time of a `with`. Another thread's hooks wait for it."""
        with self._hooking, self.bridge.hooks(fwd_hooks=list(hooks)):
            yield

    # --- copies, on disk and off ------------------------------------------------------------------------

    def copy(self, *, name: str | None = None) -> "Agent":
        """An Agent of its own with the same weights."""
        for part in self.bridge.modules():  # some keep results of their last run, and a graph cannot be copied
            for key, kept in vars(part).items():
                if isinstance(kept, Tensor) and kept.grad_fn is not None:
                    vars(part)[key] = kept.detach()
        twin = Agent(copy.deepcopy(self.bridge), name=name or self.name, device=self.device, vocabulary=self.vocabulary)
        twin._sites, twin._written = self._sites, dict(self._written)
        for part in twin.bridge.modules():  # hooks that keep attention patterns refer, weakly, to the original's parts
            block: Any = part
            if vars(part).get("_capture_hooks_wired", False):
                block._teardown_capture_hooks()
                block._maybe_wire_capture_hooks()
        return twin

    def weights(self) -> dict[str, Tensor]:
        """Every parameter once, named as in the model that the bridge wraps."""
        return {name.replace("_original_component.", ""): p for name, p in self.bridge.named_parameters()}

    def check_trainable(self) -> None:
        """Raise BadSettings where the bridge runs weights of its own: training the model that it wraps misses them."""
        if names := apart(self.bridge):
            raise BadSettings(
                f"expected a bridge that runs the weights of the model it wraps, but {self.name} has "
                f"{len(names)} of its own ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}). "
                "Make the Agent before the bridge's weights are processed, or take a model of another architecture."
            )

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, device: Any = "auto", dtype: torch.dtype = torch.float32
    ) -> "Agent":
        """A Hugging Face causal language model, from a folder that `save_pretrained` wrote or by its name on the hub.

        A folder is read offline, with or without a tokenizer in it. Weights are used as they are, in fp32 unless
        another dtype is asked for, because edits are measured in it; attention is eager. Code and pickles that come
        with a model are never opened. Raises BadCheckpoint for those, for weights that are missing, unexpected or of
        another shape, and where the bridge does not give the logits of the Hugging Face model.
        """
        where = _device(device)
        found = open_pretrained(name_or_folder, device=where, dtype=dtype)
        rows, expected = some_answers(found)  # before the bridge takes the model apart
        agent = cls(_bridge_to(found), name=found.name, device=where)
        with torch.no_grad():
            check_agreement(found, expected, agent.bridge(rows))
        return agent

    def save(self, folder: str | Path) -> None:
        """Write `agent.json` and `model.safetensors` into a folder. Only native bridges can be saved."""
        if self.bridge.cfg.architecture != "TransformerLensNative":
            raise BadSettings(
                f"expected a native bridge, got {self.bridge.cfg.architecture}. "
                "Save Hugging Face models with their own save_pretrained."
            )
        known = self.vocabulary
        content = {
            "name": self.name,
            "config": _plain_config(self.bridge.cfg),
            "vocabulary": None if known is None else {"names": list(known.names), "query": known.query},
            "weights": write_tensors(Path(folder) / "model.safetensors", self.weights()),
        }
        own = {"format": _FORMAT, "version": 1, "sha256": digest_of(content)}
        write_json(Path(folder) / "agent.json", own | content)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> "Agent":
        """An Agent from a folder, bit for bit as saved. Raises BadCheckpoint where anything does not match."""
        path = Path(folder)
        content = read_json(path / "agent.json", format=_FORMAT)
        agent = _described(content, path / "agent.json")
        tensors = read_tensors(path / "model.safetensors", content["weights"])
        check_tensors(path / "model.safetensors", tensors, agent.weights())
        with torch.no_grad():
            for name, parameter in agent.weights().items():
                parameter.copy_(tensors[name])
        return cls(agent.bridge, name=agent.name, device=device, vocabulary=agent.vocabulary)


def _described(content: dict[str, Any], path: Path) -> Agent:
    """The Agent that an `agent.json` describes, its weights still to come. Raises BadCheckpoint."""
    described = {name: value for name, value in content.items() if name not in ("format", "version", "sha256")}
    if content.get("sha256") != digest_of(described):
        raise BadCheckpoint(f"{path} is not as it was saved: its sha256 differs. Restore it, or save the agent again.")
    try:
        config = dict(described["config"])
        config["dtype"] = getattr(torch, config["dtype"])
        names = described["vocabulary"]
        vocabulary = None if names is None else Vocabulary(tuple(names["names"]), names["query"])
        bridge = _empty(TransformerBridgeConfig.from_dict(config))
        return Agent(bridge, name=described["name"], device="cpu", vocabulary=vocabulary)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise BadCheckpoint(f"{path} does not describe an agent: {error!r}. Save it again.") from None


def _device(wanted: Any) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one. Raises BadSettings for one that cannot be used."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise BadSettings(f"expected a device such as 'auto', 'cpu' or 'cuda', got {wanted!r}: {first}") from None
    return device


def _bridge_to(found: Pretrained) -> TransformerBridge:
    """A bridge to a Hugging Face model and its weights. Raises BadCheckpoint where TransformerLens has none."""
    kind, config = type(found.model).__name__, copy.deepcopy(found.model.config)
    try:
        return build_bridge_from_module(
            found.model, kind, hf_config=config, tokenizer=found.tokenizer, model_name=found.name
        )
    except Exception as error:  # an adapter raises whatever goes wrong in it
        raise BadCheckpoint(
            f"expected a model that TransformerLens has a bridge to, got {found.name}, a {kind}: {error!r}. "
            "Take a model of another architecture, or another version of TransformerLens."
        ) from error


def _empty(config: TransformerBridgeConfig) -> TransformerBridge:
    """A native bridge whose weights are about to be replaced; nothing global is drawn from."""
    config.seed = 0
    return TransformerBridge.boot_native(  # pyright: ignore[reportAttributeAccessIssue]
        config, device="cpu", dtype=config.dtype
    )


def _plain_config(config: TransformerBridgeConfig) -> dict[str, Any]:
    """The configuration as JSON: what is set, without the machine it ran on."""
    simple: dict[str, Any] = {k: v for k, v in vars(config).items() if isinstance(v, str | bool | int | float)}
    simple["normalization_type"] = config.normalization_type  # None means no norm, which is not the default
    for name in ("device", "initializer_range", "n_params", "seed"):
        simple.pop(name, None)
    return simple | {"dtype": str(config.dtype).removeprefix("torch.")}
