"""A digest of the code behind a component: its module and the project's modules that it imports."""

import ast
import hashlib
import inspect
import os
import sys
import sysconfig
import types
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from shoestring.core.errors import ConfigError
from shoestring.finance.records.digest import digest_bytes, digest_json

__all__ = ["code_digest", "code_modules"]

_SEEN: dict[tuple[str, str], tuple[tuple[tuple[str, int, int], ...], dict[str, str]]] = {}
_OUTSIDE = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def code_digest(component: Any) -> str:
    """Return the SHA-256 of the code that decides what a class, function or instance does.

    Parameters
    ----------
    component : Any
        A class, a function, or an instance (its class counts; its values are parameters).

    Returns
    -------
    str
        64 hexadecimal digits over its name and the text of its module and, transitively, of every
        module that this one imports and that belongs to the same project or to Shoestring. The
        versions of everything else are in `environment_digest`. Code without a file (an interactive
        session) is digested by its byte code and by the functions that it names.

    Raises
    ------
    ConfigError
        If there is neither a file nor byte code, or a module cannot be parsed.
    """
    thing = component if isinstance(component, type | types.FunctionType) else type(component)
    modules = code_modules(thing)
    if modules:
        return digest_json({"object": thing.__qualname__, "modules": modules})
    return digest_json({"object": thing.__qualname__, "bytecode": _bytecode(thing)})


def code_modules(thing: Any) -> dict[str, str]:
    """Return the modules behind `thing` with the SHA-256 of each one's text; empty if it has no file."""
    module = sys.modules.get(thing.__module__)
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        return {}
    place = (thing.__module__, str(file))
    signature, known = _SEEN.get(place, ((), {}))
    if known and _signature(path for path, *_ in signature) == signature:
        return known
    found: dict[str, str] = {}
    paths: list[str] = []
    top = thing.__module__.partition(".")[0]
    todo = [(thing.__module__, Path(file))]
    while todo:
        name, path = todo.pop()
        if name in found:
            continue
        paths.append(str(path))
        status = path.stat()
        digest, imported = _read(str(path), status.st_mtime_ns, status.st_size, _package(name, path))
        found[name] = digest
        for other in imported:
            origin = _origin(other)
            if origin is not None and other not in found and _is_project(other, origin, top):
                todo.append((other, origin))
    _SEEN[place] = (_signature(paths), found)
    return found


def _signature(paths: Iterable[str]) -> tuple[tuple[str, int, int], ...]:
    """Return size and time of files: while these stand, nothing has to be read again."""
    out = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116  # twice as fast as Path.stat, and called for every key
        except FileNotFoundError:
            return ()
        out.append((path, status.st_mtime_ns, status.st_size))
    return tuple(out)


@lru_cache(maxsize=4096)
def _read(path: str, mtime_ns: int, size: int, package: str) -> tuple[str, tuple[str, ...]]:  # noqa: ARG001
    """Return a file's digest and the dotted names that it may import; cached while the file is unchanged."""
    text = Path(path).read_bytes()
    try:
        tree = ast.parse(text)
    except SyntaxError as e:
        raise ConfigError(f"{path} cannot be parsed: {e}; correct it first") from e
    names: set[str] = set()
    for node in _runtime_nodes(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *([base] if base else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    parents = {n.rpartition(".")[0] for n in names if "." in n}
    return digest_bytes(text), tuple(sorted((names | parents) - {""}))


def _runtime_nodes(tree: ast.AST) -> list[ast.AST]:
    """Return all nodes but those under ``if TYPE_CHECKING``, which never run."""
    out: list[ast.AST] = []
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo.extend(node.orelse)
            continue
        out.append(node)
        todo.extend(ast.iter_child_nodes(node))
    return out


def _package(name: str, path: Path) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _origin(name: str) -> Path | None:
    """Return the source file of a module by name, without importing anything; None if it has none."""
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return Path(file).resolve() if file and file.endswith(".py") else None
    *parents, last = name.split(".")
    for folder in _search_path(".".join(parents)):
        for path in (Path(folder) / last / "__init__.py", Path(folder) / f"{last}.py"):
            if path.is_file():
                return path.resolve()
    return None


def _search_path(package: str) -> list[str]:
    """Return the folders in which a package's modules lie, those of the top level for no package."""
    if not package:
        return [entry or "." for entry in sys.path]
    module = sys.modules.get(package)
    if module is not None:
        return list(getattr(module, "__path__", []))
    *parents, last = package.split(".")
    folders = [Path(folder) / last for folder in _search_path(".".join(parents))]
    return [str(folder) for folder in folders if folder.is_dir()]


def _is_project(name: str, origin: Path, top: str) -> bool:
    if name.partition(".")[0] in (top, "shoestring"):
        return True
    # An environment may be layered over another one, whose packages lie outside its own folders.
    installed = not {"site-packages", "dist-packages"}.isdisjoint(origin.parts)
    return not installed and not any(origin.is_relative_to(folder) for folder in _OUTSIDE)


def _bytecode(thing: Any, seen: set[int] | None = None) -> list[Any]:
    """Describe the byte code of a class or function and of what it names in its own module."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return []
    seen.add(id(thing))
    if isinstance(thing, type):
        members = [(n, inspect.unwrap(_function(v))) for n, v in sorted(vars(thing).items())]
        parts = [[n, _bytecode(f, seen)] for n, f in members if isinstance(f, types.FunctionType)]
        bases = [_bytecode(b, seen) for b in thing.__bases__ if b.__module__ == thing.__module__]
        return [thing.__qualname__, parts, bases]
    if not isinstance(thing, types.FunctionType):
        raise ConfigError(f"{thing!r} has neither a file nor byte code; write the strategy into a .py file")
    named = []
    for name in sorted(_names(thing.__code__)):
        value = thing.__globals__.get(name)
        if isinstance(value, type | types.FunctionType) and value.__module__ == thing.__module__:
            named.append([name, _bytecode(value, seen)])
        elif isinstance(value, bool | int | float | str):
            named.append([name, repr(value)])
    return [thing.__qualname__, _code(thing.__code__), named]


def _function(value: Any) -> Any:
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    return value.fget if isinstance(value, property) else value


def _names(code: types.CodeType) -> set[str]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*(_names(c) for c in inner))


def _code(code: types.CodeType) -> list[Any]:
    """Describe a code object without file name and line numbers."""
    consts: list[Any] = []
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            consts.append(_code(const))
        else:  # the order of a set of text differs from process to process
            consts.append(repr(sorted(const, key=repr) if isinstance(const, frozenset) else const))
    body = hashlib.sha256(code.co_code).hexdigest()
    return [body, list(code.co_names), list(code.co_varnames), consts]
