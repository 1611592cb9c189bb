"""Files that are whole or refused: JSON and safetensors, each with a sha256, never a pickle."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BadCheckpoint

if TYPE_CHECKING:
    from torch import Tensor

_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_bytes(path: Path, data: bytes) -> str:
    """Write a file so that a reader sees the old one or the whole new one; returns its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return sha256(data)


def read_bytes(path: Path, digest: str | None = None) -> bytes:
    """A file's bytes. Raises BadCheckpoint where it is missing or, given a sha256, not as it was written."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"expected a file at {path}: {error.strerror}. Save it again, or mend the path.") from None
    if digest is not None and sha256(data) != digest:
        raise BadCheckpoint(
            f"{path} is not the file that was saved: expected sha256 {digest[:12]}.., got {sha256(data)[:12]}.. "
            f"({len(data)} bytes). It was truncated or altered: restore it, or build it again."
        )
    return data


def digest_of(content: Mapping[str, Any]) -> str:
    """The SHA-256 of a JSON object, whatever the order of its keys."""
    return sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode())


def write_json(path: Path, content: Mapping[str, Any]) -> str:
    """Write a JSON object, readable and in a fixed order; returns its sha256."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return write_bytes(path, (text + "\n").encode())


def read_json(path: Path, *, format: str, version: int = 1) -> dict[str, Any]:
    """A JSON object that says of itself that it is of that format and version; otherwise BadCheckpoint."""
    try:
        content = json.loads(read_bytes(path).decode())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadCheckpoint(f"expected JSON in {path}: {error}. It is truncated, altered or another file.") from None
    found = (content.get("format"), content.get("version")) if isinstance(content, dict) else None
    if found != (format, version):
        raise BadCheckpoint(
            f"expected {format!r} version {version} in {path}, got {found}. It is another kind of file."
        )
    return content


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", notes: Mapping[str, str] | None = None) -> str:
    """Write tensors, and notes in the header, as safetensors; returns the file's sha256."""
    from safetensors.torch import save

    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return write_bytes(path, save(plain, dict(notes) if notes else None))


def read_tensors(path: Path, digest: str | None = None) -> "dict[str, Tensor]":
    """Tensors from a safetensors file. Pickles and broken files are refused, never opened (BadCheckpoint)."""
    return read_tensors_and_notes(path, digest)[0]


def read_tensors_and_notes(path: Path, digest: str | None = None) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Tensors and the notes of the header, from a safetensors file; BadCheckpoint for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_bytes(path, digest)
    if data.startswith(_PICKLE_STARTS) and data[8:9] != b"{":  # safetensors: a length of 8 bytes, then JSON
        raise BadCheckpoint(f"expected safetensors in {path}, got what looks like a pickle. Pickles are never opened.")
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadCheckpoint(f"expected safetensors in {path}: {error}. It is truncated or another file.") from None
    return tensors, header.get("__metadata__", {})


def check_tensors(path: Path, found: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]") -> None:
    """Raise BadCheckpoint unless `found` has the names, shapes and dtypes of `expected`."""
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        raise BadCheckpoint(f"{path}: missing tensors {missing[:4]}, unexpected tensors {extra[:4]}. Save it again.")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise BadCheckpoint(
                f"{path}: expected {name} of shape {tuple(tensor.shape)} and {tensor.dtype}, "
                f"got {tuple(found[name].shape)} and {found[name].dtype}. It belongs to another model."
            )
