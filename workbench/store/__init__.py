"""Runs on disk, found again by their settings, and the files that they are made of.

A store is a folder:

    index.sqlite                      what there is: runs, their figures, results of sweeps, and the sha256 of each file
    index.sqlite-wal, -shm            SQLite's log (WAL, synchronous=FULL), taken into the index now and then
    index-version-N.sqlite            the index as it was before a later release changed its tables
    objects/KEY/checkpoint-*.safetensors    a checkpoint of the run KEY: tensors, with notes in the header
    objects/KEY/item-*.safetensors, .json   what was put there

KEY is the SHA-256 of a run's kind and settings. The stars are drawn at random: nothing that a user types is part of a
path, and no file is written over. A file is written under a temporary name, synced and renamed, its folder is synced,
and then the index gets its row, in a transaction of its own. So what the index names is there and is whole, whenever a
process or the machine dies; what it does not name is litter, for `Store.tidy()`. A call that returned is on the disk.

Nothing here needs torch, unless tensors of torch are handed over or asked for.
"""

from workbench.store.files import (
    check_tensors,
    digest_of,
    read_arrays_and_notes,
    read_bytes,
    read_json,
    read_tensors,
    read_tensors_and_notes,
    sha256,
    write_bytes,
    write_json,
    write_tensors,
)
from workbench.store.results import Results
from workbench.store.run import Run, Saved
from workbench.store.store import Store

__all__ = [
    "Results",
    "Run",
    "Saved",
    "Store",
    "check_tensors",
    "digest_of",
    "read_arrays_and_notes",
    "read_bytes",
    "read_json",
    "read_tensors",
    "read_tensors_and_notes",
    "sha256",
    "write_bytes",
    "write_json",
    "write_tensors",
]
