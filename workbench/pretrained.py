"""Hugging Face models, from a folder or the hub: read and checked here; nothing that came with them is ever run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import CRITICAL
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from workbench.errors import BadCheckpoint, BadSettings, closest
from workbench.store import read_bytes

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tokenizer_config.json")
_FROM_THE_HUB = ("*.json", "model*.safetensors", "*.model", "*.txt", "*.jinja")
_AGREE, _ROUNDINGS = 1e-4, 8.0


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A Hugging Face model in evaluation mode with eager attention; its name; its tokenizer, if it has one."""

    name: str
    model: PreTrainedModel
    tokenizer: Any | None


def open_pretrained(name_or_folder: str | Path, *, device: torch.device, dtype: torch.dtype) -> Pretrained:
    """A causal language model as written by `save_pretrained`, from a folder or by its name on the hub.

    A folder is read without a look at the network. Every weight comes from safetensors and has its place in the model;
    anything else is refused. Raises BadCheckpoint; BadSettings for a dtype that is no floating-point one.
    """
    if not dtype.is_floating_point:
        raise BadSettings(f"expected a floating-point dtype such as torch.float32, got {dtype}.")
    given = Path(name_or_folder).expanduser()
    folder = given if given.is_dir() else _fetched(name_or_folder)
    with _quietly():
        model = _model(folder, _config(folder), dtype)
        model.to(device)  # pyright: ignore[reportArgumentType]  # it is wrapped in a decorator without types
        tokenizer = _tokenizer(folder)
    return Pretrained(given.resolve().name if folder is given else str(name_or_folder), model, tokenizer)


@torch.no_grad()
def some_answers(found: Pretrained) -> tuple[Int64[Tensor, "row pos"], Float[Tensor, "row pos vocab"]]:
    """Three rows of up to twelve tokens, always the same, and the model's logits on them."""
    config = found.model.config.get_text_config()
    length = min(12, getattr(config, "max_position_embeddings", None) or 12)
    tokens = torch.arange(1, 3 * length + 1, device=found.model.device) * 7919 % config.vocab_size
    rows = tokens.reshape(3, length)
    return rows, found.model(rows, use_cache=False).logits


def check_agreement(
    found: Pretrained, expected: Float[Tensor, "row pos vocab"], got: Float[Tensor, "row pos vocab"]
) -> None:
    """Raise BadCheckpoint unless a bridge's logits are those of the Hugging Face model.

    They may be apart by 1e-4 (1 + max |logit|); where eight roundings of the model's dtype are more, by these
    in place of 1e-4.
    """
    largest = expected.abs().max().item()
    allowed = max(_AGREE, _ROUNDINGS * torch.finfo(found.model.dtype).eps) * (1 + largest)
    apart = (got - expected).abs().max().item()
    if not apart <= allowed:  # NaN is refused too
        raise BadCheckpoint(
            f"expected the bridge to {found.name} to give the logits of the Hugging Face model to within "
            f"{allowed:.2g}, got a difference of {apart:.2g} where the largest is {largest:.2g}. Its activations "
            "overflow, or TransformerLens maps it wrongly: take dtype=torch.float32, or another version of it."
        )


# --- where it is ----------------------------------------------------------------------------------------


def _fetched(name: str | Path) -> Path:
    """The folder in the hub's cache with a model's configuration, weights and tokenizer; never its code or pickles."""
    if isinstance(name, Path) or Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise BadCheckpoint(f"expected a folder at {name}, there is none. Mend the path, or save the model again.")
    try:
        return Path(snapshot_download(name, allow_patterns=list(_FROM_THE_HUB), ignore_patterns=["*/*"]))
    except HFValidationError:
        raise BadCheckpoint(f"expected a folder, or a name such as 'owner/model', got {name!r}.") from None
    except (OSError, ValueError) as error:  # what the hub raises is derived from one of these
        raise BadCheckpoint(
            f"expected {name!r} to be a folder, or on the Hugging Face hub: there is no such folder, and the hub gave "
            f"{type(error).__name__}. Mend the name, or go online once, or give a folder written by save_pretrained."
        ) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' progress bars and reports: what matters in them is raised."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


# --- configuration --------------------------------------------------------------------------------------


def _config(folder: Path) -> Any:
    """The configuration, of a class that transformers itself ships. Raises BadCheckpoint."""
    path = folder / _CONFIG
    if not path.is_file() and (folder / "adapter_config.json").is_file():
        raise BadCheckpoint(f"expected a whole model in {folder}, got an adapter. Merge it into its model, save that.")
    content = _object(path)
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise BadCheckpoint(_unknown_kind(path, kind, "auto_map" in content))
    if "quantization_config" in content:
        raise BadCheckpoint(f"expected plain weights, {path} says they are quantized. Save the model dequantized.")
    try:
        return CONFIG_MAPPING[kind].from_dict(content)
    except Exception as error:  # each class has checks of its own, and errors of its own
        raise BadCheckpoint(f"{path} does not describe a {kind} model: {_first_line(error)} Save it again.") from error


def _unknown_kind(path: Path, kind: Any, has_code: bool) -> str:
    if has_code:
        return (
            f"expected a model_type that transformers ships, got {kind!r} in {path}, which needs the code that its "
            "auto_map names. Code that comes with a model is never run. Use a model that transformers itself knows."
        )
    near = closest(str(kind), CONFIG_MAPPING)
    return f"expected a model_type that transformers knows, got {kind!r} in {path}. Closest: {near}. Mend or update."


def _object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; BadCheckpoint for anything else."""
    try:
        content = json.loads(read_bytes(path).decode())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadCheckpoint(f"expected JSON in {path}: {error}. It is truncated or another file.") from None
    if not isinstance(content, dict):
        raise BadCheckpoint(f"expected a JSON object in {path}, got {type(content).__name__}. It is another file.")
    return content


# --- weights --------------------------------------------------------------------------------------------


def _model(folder: Path, config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """The model with the folder's weights, each of them used. Raises BadCheckpoint.

    transformers is given the tensors, not the folder: it would also look for adapters, pickles and code there.
    """
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if kind is None:
        raise BadCheckpoint(f"expected a causal language model in {folder}, got {config.model_type}, which has none.")
    tensors = _tensors(folder)
    _check_finite(folder, tensors)
    try:
        with torch.device("meta"):  # shapes without memory
            wanted = sum(weight.numel() for weight in kind(config).parameters())
        _check_size(folder, wanted, sum(tensor.numel() for tensor in tensors.values()))
        model, loading = kind.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=dtype,
            attn_implementation="eager",
            ignore_mismatched_sizes=True,  # they are in the report, and refused
            output_loading_info=True,
        )
    except BadCheckpoint:
        raise
    except Exception as error:  # the model is built from the configuration, which may hold any number
        raise BadCheckpoint(f"{folder} does not hold a {kind.__name__}: {_first_line(error)} Save it again.") from error
    _check_loading(folder, loading)
    return model


def _tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of the folder's safetensors, of one file or several."""
    if (folder / _WEIGHTS).is_file():
        return _read(folder / _WEIGHTS)
    if not (folder / _INDEX).is_file():
        raise BadCheckpoint(_no_weights(folder))
    places = _object(folder / _INDEX).get("weight_map")
    names = set(map(str, places.values())) if isinstance(places, dict) else {""}
    if not all(name == Path(name).name and name.endswith(".safetensors") for name in names):
        raise BadCheckpoint(
            f"expected weight_map in {folder / _INDEX} to give each tensor's safetensors file beside it."
        )
    tensors: dict[str, Tensor] = {}
    for name in sorted(names):
        tensors |= _read(folder / name)
    return tensors


def _read(path: Path) -> dict[str, Tensor]:
    """One file's tensors, copied: the file may then change. Raises BadCheckpoint."""
    try:
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except OSError as error:
        raise BadCheckpoint(f"expected a file at {path}: {error.strerror or error}. Save the model again.") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadCheckpoint(f"expected safetensors in {path}: {error}. It is truncated or another file.") from None


def _no_weights(folder: Path) -> str:
    pickles = sorted({path.name for pattern in _PICKLES for path in folder.glob(pattern)})
    if pickles:
        return (
            f"expected {_WEIGHTS} in {folder}, got {', '.join(pickles[:3])}. Pickles can run code and are never "
            "opened. Where you trust them, load them with transformers; save_pretrained then writes safetensors."
        )
    return f"expected {_WEIGHTS} or {_INDEX} in {folder}, there is neither. Write the folder with save_pretrained."


def _check_size(folder: Path, wanted: int, held: int) -> None:
    """Raise BadCheckpoint for a model far larger than its weights: missing ones would be drawn first, in any number."""
    if wanted > 2 * held:
        raise BadCheckpoint(
            f"expected {wanted} weights in {folder}, for the model in its {_CONFIG}, got {held}. "
            "Save the model and its configuration together."
        )


def _check_finite(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise BadCheckpoint(
            f"expected finite weights in {folder}, got NaN or infinity in {_some(broken)}. Save it again."
        )


def _check_loading(folder: Path, loading: Mapping[str, Any]) -> None:
    """Raise BadCheckpoint unless each weight of the model was in the folder, and each of the folder's in the model.

    transformers draws missing weights at random, tied ones aside, and passes over those it has no use for.
    """
    reasons = {
        "missing from the folder": sorted(loading["missing_keys"]),
        "not in the model": sorted(loading["unexpected_keys"]),
        "of another shape than in the model": [
            f"{name} {tuple(got)} for {tuple(wanted)}" for name, got, wanted in sorted(loading["mismatched_keys"])
        ],
    }
    for reason, names in reasons.items():
        if names:
            raise BadCheckpoint(
                f"expected the weights in {folder} to be those of the model in its {_CONFIG}, got {_some(names)} "
                f"{reason}. Save the whole model, with the head that predicts tokens, and its configuration together."
            )


def _some(names: list[str]) -> str:
    """The first few of some names, and how many there are."""
    return f"{len(names)} tensors ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


# --- tokenizer ------------------------------------------------------------------------------------------


def _tokenizer(folder: Path) -> Any | None:
    """The folder's tokenizer, beginning texts as the model expects; None where there is none. Raises BadCheckpoint."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        return None
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        try:
            return AutoTokenizer.from_pretrained(folder, add_bos_token=True, **options)
        except ValueError:  # some have no such token, or cannot be told
            return AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:  # each class has errors of its own
        raise BadCheckpoint(
            f"expected a tokenizer in {folder} that can be read without its own code: {_first_line(error)} "
            "Mend or remove the tokenizer's files; without them Prompts are made from token numbers."
        ) from error


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first if first.endswith(".") else f"{first}."
