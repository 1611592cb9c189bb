"""Sources: a hash of the code that decides what a recipe gives, so that a cache neither outlives it nor dies of others.

What decides is the planter's module and the task's, `accept.py`, `families.py` with the family's own entry, and all of
`toy_models` that these import, in turn. A registry is passed over: it imports everything that can be named. What the
recipe, or a string in one of these modules, names from it is followed instead. Modules are compared as abstract syntax
without docstrings, so that a comment mended or a planter added costs nobody the organisms that are in the cache.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
_PACKAGE = ROOT.name
_FAMILIES = "toy_models.families"


@dataclass(frozen=True, slots=True)
class Module:
    """What counts of a module.

    syntax: all of it, as text. imports: modules, each with the names taken from it. strings: the constants in it.
    """

    syntax: str
    imports: tuple[tuple[str, tuple[str, ...]], ...]
    strings: frozenset[str]


def version(family: str, task: str, settings: Mapping[str, Any], *, root: Path = ROOT) -> str:
    """The hash, in hexadecimal. root: the folder of the package, whose files are read and not imported."""
    modules = deciding(family, task, settings, root=root)
    return hashlib.sha256("\n".join(f"{name} {modules[name].syntax}" for name in sorted(modules)).encode()).hexdigest()


def deciding(family: str, task: str, settings: Mapping[str, Any], *, root: Path = ROOT) -> dict[str, Module]:
    """The modules that decide, by name."""
    from toy_models.families import FAMILIES

    named, waiting = _named(), [f"toy_models.plants.{FAMILIES[family].module}", "toy_models.accept", _FAMILIES]
    waiting += [named[word] for word in (task, *settings.values()) if isinstance(word, str) and word in named]
    found: dict[str, Module] = {}
    while waiting:
        name = waiting.pop()
        if name in found or name.endswith(".registry"):
            continue
        found[name] = _read(_path(name, root).read_bytes(), family if name == _FAMILIES else None)
        waiting += [*_followed(found[name], root), *(named[word] for word in found[name].strings if word in named)]
    return found


def _named() -> dict[str, str]:
    """The modules of all tasks and kinds of triggers, by the names that recipes use."""
    from toy_models.tasks.registry import TASKS
    from toy_models.triggers.registry import TRIGGERS

    return {name: kind.__module__ for registry in (TASKS, TRIGGERS) for name, kind in registry.items()}


@cache
def _read(source: bytes, family: str | None) -> Module:
    """What counts of a module, from its text. family: whose entry to keep, where the module is that of families."""
    tree = _Plain(family).visit(ast.parse(source))
    nodes = list(ast.walk(tree))
    plain = [(alias.name, ()) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    some = [(node.module, node.names) for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return Module(
        ast.dump(tree),
        (*plain, *((module, tuple(alias.name for alias in names)) for module, names in some)),
        frozenset(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)),
    )


class _Plain(ast.NodeTransformer):
    """Leaves out strings that are no values, which is to say docstrings; and, given a family, the others' entries."""

    def __init__(self, family: str | None) -> None:
        self.family = family

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if self.family and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == "FAMILIES":
            entries = zip(node.value.keys, node.value.values, strict=True)
            own = [(k, v) for k, v in entries if isinstance(k, ast.Constant) and k.value == self.family]
            node.value.keys, node.value.values = [k for k, _ in own], [v for _, v in own]
        return self.generic_visit(node)


def _followed(module: Module, root: Path) -> Iterator[str]:
    """The modules of the package that one imports: each name that is one, and what the other names are taken from."""
    for name, parts in module.imports:
        inside = [f"{name}.{part}" for part in parts if _path(f"{name}.{part}", root).exists()]
        yield from inside
        if len(inside) < max(1, len(parts)) and _path(name, root).exists():
            yield name


def _path(module: str, root: Path) -> Path:
    """The file of a module; one that does not exist where the module is not of the package."""
    first, *parts = module.split(".")
    folder = root.joinpath(*parts) if first == _PACKAGE else root / "of others"
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
