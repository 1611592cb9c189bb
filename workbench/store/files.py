"""Files that are whole or refused: JSON and safetensors, each with a sha256, never a pickle."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BadCheckpoint, BadSettings, CannotStore

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_bytes(path: Path, data: bytes) -> str:
    """Write a file so that a reader sees the old one or the whole new one; returns its sha256.

    On return it is on the disk, and so is its name. Raises CannotStore where the disk is full; nothing is left then.
    """
    try:
        make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            _fill(handle, data)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CannotStore(
            f"expected room for {len(data)} bytes, to write {path}: {error.strerror}. Nothing that was there is lost: "
            "make room, or name a folder on another disk."
        ) from None
    return sha256(data)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they are still there after a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _fill(handle: int, data: bytes) -> None:
    """Write all of the data to an open file, wait until it is on the disk, and close the file."""
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can be asked for that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


def read_json(path: Path, digest: str | None = None, *, format: str, version: int = 1) -> dict[str, Any]:
    """A JSON object that says of itself that it is of that format and version; otherwise BadCheckpoint."""
    try:
        content = json.loads(read_bytes(path, digest).decode())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadCheckpoint(f"expected JSON in {path}: {error}. It is truncated, altered or another file.") from None
    found = (content.get("format"), content.get("version")) if isinstance(content, dict) else None
    if found != (format, version):
        raise BadCheckpoint(
            f"expected {format!r} version {version} in {path}, got {found}. It is another kind of file."
        )
    return content


def write_tensors(path: Path, tensors: "Mapping[str, Tensor | ndarray]", notes: Mapping[str, str] | None = None) -> str:
    """Write tensors or numpy arrays, and notes in the header, as safetensors; returns the file's sha256.

    Arrays alone are written without torch, which is not even imported.
    """
    header = dict(notes) if notes else None
    if any(hasattr(tensor, "detach") for tensor in tensors.values()):
        import torch
        from safetensors.torch import save

        plain = {name: torch.as_tensor(t).detach().cpu().contiguous() for name, t in tensors.items()}
        return write_bytes(path, save(plain, header))
    import numpy
    from safetensors.numpy import save as save_arrays

    return write_bytes(path, save_arrays({name: numpy.asarray(t, order="C") for name, t in tensors.items()}, header))


def read_tensors(path: Path, digest: str | None = None) -> "dict[str, Tensor]":
    """Tensors from a safetensors file. Pickles and broken files are refused, never opened (BadCheckpoint)."""
    return read_tensors_and_notes(path, digest)[0]


def read_tensors_and_notes(path: Path, digest: str | None = None) -> "tuple[dict[str, Tensor], dict[str, str]]":
    """Tensors and the notes of the header, from a safetensors file; BadCheckpoint for anything else."""
    from safetensors.torch import load

    return _read_safetensors(path, digest, load)


def read_arrays_and_notes(path: Path, digest: str | None = None) -> "tuple[dict[str, ndarray], dict[str, str]]":
    """The same as numpy arrays, without importing torch. Raises BadSettings for types such as bfloat16."""
    from safetensors.numpy import load

    return _read_safetensors(path, digest, load)


def _read_safetensors(
    path: Path, digest: str | None, load: Callable[[bytes], dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError

    data = read_bytes(path, digest)
    if data.startswith(_PICKLE_STARTS) and data[8:9] != b"{":  # safetensors: a length of 8 bytes, then JSON
        raise BadCheckpoint(f"expected safetensors in {path}, got what looks like a pickle. Pickles are never opened.")
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except KeyError as error:
        raise BadSettings(f"expected a type that numpy has, got {error} in {path}. Read it as tensors.") from None
    except (SafetensorError, ValueError) as error:
        raise BadCheckpoint(f"expected safetensors in {path}: {error}. It is truncated or another file.") from None
    return tensors, header.get("__metadata__", {})


def check_tensors(path: Path | str, found: "Mapping[str, Tensor]", expected: "Mapping[str, Tensor]") -> None:
    """Raise BadCheckpoint unless `found` has the names, shapes and dtypes of `expected`. path: how errors call it."""
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        raise BadCheckpoint(f"{path}: missing tensors {missing[:4]}, unexpected tensors {extra[:4]}. Save it again.")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise BadCheckpoint(
                f"{path}: expected {name} of shape {tuple(tensor.shape)} and {tensor.dtype}, "
                f"got {tuple(found[name].shape)} and {found[name].dtype}. It belongs to another model."
            )
