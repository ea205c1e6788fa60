"""A conservative call graph of the library, made of its sources: what may run when a function is called.

Nothing is imported. A name stands for what it was imported as or defined as in its module; an attribute of
something unknown stands for every function and method of that name. Whatever a function mentions counts as
called, so that callbacks, partial functions and decorators are followed too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


Node: TypeAlias = str  # "package.module:Class.method", or "package.module:" for the code of a module


@dataclass
class Module:
    """The meaning of the names in a module."""

    name: str
    tree: ast.Module
    is_package: bool
    imports: dict[str, str] = field(default_factory=dict)  # local name -> dotted name
    constants: set[str] = field(default_factory=set)  # names of texts that never change
    top: dict[str, ast.AST] = field(default_factory=dict)  # functions and classes


class CallGraph:
    """The functions of a package, and what each of them mentions.

    Args:
        root: the directory of the package.
        skipped: modules whose methods are not taken for those of something unknown.
    """

    def __init__(self, root: Path, skipped: Iterable[str] = ()) -> None:
        self._skipped = tuple(skipped)
        self.modules = {module.name: module for module in (_module(root, f) for f in sorted(root.rglob("*.py")))}
        self.bodies: dict[Node, list[ast.AST]] = {}
        self._classes: dict[str, list[Node]] = defaultdict(list)  # "module:Class" -> its methods that nobody names
        self._by_name: dict[str, set[Node]] = defaultdict(set)
        self.registered: set[Node] = set()
        for module in self.modules.values():
            self._add(module)

    def _add(self, module: Module) -> None:
        rest: list[ast.AST] = []
        for statement in _statements(module.tree.body):
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._add_function(module, statement, statement.name)
                rest += statement.decorator_list
            elif isinstance(statement, ast.ClassDef):
                for inner in statement.body:
                    if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                        self._add_function(module, inner, f"{statement.name}.{inner.name}", statement.name)
                    else:
                        rest.append(inner)
                rest += [*statement.decorator_list, *statement.bases]
            else:
                rest.append(statement)
        self.bodies[f"{module.name}:"] = rest

    def _add_function(self, module: Module, function: ast.AST, name: str, owner: str | None = None) -> None:
        node = f"{module.name}:{name}"
        assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        self.bodies[node] = [function]
        if not module.name.startswith(self._skipped):
            self._by_name[function.name].add(node)
        if owner is not None and function.name.startswith("__") and function.name.endswith("__"):
            self._classes[f"{module.name}:{owner}"].append(node)
        if any("register" in ast.unparse(decorator) for decorator in function.decorator_list):
            self.registered.add(node)

    def reachable(self, roots: Iterable[Node], barriers: Iterable[Node] = ()) -> dict[Node, Node | None]:
        """Return each function that may run, and the one that mentions it; barriers are not followed."""
        found: dict[Node, Node | None] = dict.fromkeys(roots)
        stops = set(barriers)
        pending = list(found)
        while pending:
            node = pending.pop()
            if node in stops:
                continue
            for target in self.mentioned(node):
                if target not in found:
                    found[target] = node
                    pending.append(target)
        return found

    def mentioned(self, node: Node) -> Iterator[Node]:
        """Yield the functions that the body of another one mentions."""
        module = self.modules[node.partition(":")[0]]
        owner = node.partition(":")[2].rpartition(".")[0]
        for body in self.bodies[node]:
            for inner in ast.walk(body):
                if isinstance(inner, ast.Name):
                    yield from self._named(module, inner.id)
                elif isinstance(inner, ast.Attribute):
                    yield from self._attribute(module, owner, inner)
                elif isinstance(inner, ast.ImportFrom):  # inside a function
                    yield from self._dotted(inner.module or "")

    def _named(self, module: Module, name: str) -> Iterator[Node]:
        if name in module.top:
            yield from self._defined(module.name, name)
        elif name in module.imports:
            yield from self._dotted(module.imports[name])

    def _attribute(self, module: Module, owner: str, attribute: ast.Attribute) -> Iterator[Node]:
        dotted = dotted_name(module, attribute)
        if dotted is not None:  # of something imported
            found = list(self._dotted(dotted))
            if found or not dotted.startswith("minari"):
                yield from found
                return
        is_own = isinstance(attribute.value, ast.Name) and attribute.value.id in ("self", "cls")
        own = f"{module.name}:{owner}.{attribute.attr}"
        if is_own and own in self.bodies:
            yield own
        yield from self._by_name.get(attribute.attr, ())

    def _dotted(self, dotted: str) -> Iterator[Node]:
        """Return the target of a dotted name of the package; for a module, its code."""
        for cut in range(len(parts := dotted.split(".")), 0, -1):
            name, rest = ".".join(parts[:cut]), parts[cut:]
            if name in self.modules:
                yield f"{name}:"
                if rest:
                    yield from self._defined(name, *rest[:2])  # a deeper attribute is of what a member is
                return

    def _defined(self, module: str, name: str, attribute: str | None = None) -> Iterator[Node]:
        found = self.modules[module]
        if name not in found.top:
            if name in found.imports and not found.imports[name].startswith(f"{module}.{name}"):
                yield from self._dotted(".".join(filter(None, (found.imports[name], attribute))))
            return
        if isinstance(found.top[name], ast.ClassDef):
            yield from self._classes.get(f"{module}:{name}", ())
            if attribute is not None and f"{module}:{name}.{attribute}" in self.bodies:
                yield f"{module}:{name}.{attribute}"
        else:
            yield f"{module}:{name}"

    def calls(self, node: Node) -> Iterator[tuple[str, ast.Call]]:
        """Yield the calls in a function, each with the full name of what is called, as far as that is known."""
        module = self.modules[node.partition(":")[0]]
        for body in self.bodies[node]:
            for inner in ast.walk(body):
                if isinstance(inner, ast.Call):
                    name = dotted_name(module, inner.func)
                    if name is None and isinstance(inner.func, ast.Attribute):
                        name = f"?.{inner.func.attr}"
                    yield name or ast.unparse(inner.func), inner

    def is_constant(self, node: Node, argument: ast.expr) -> bool:
        """Return whether an argument is a text that stands in the source."""
        module = self.modules[node.partition(":")[0]]
        return (isinstance(argument, ast.Constant) and isinstance(argument.value, str)) or (
            isinstance(argument, ast.Name) and argument.id in module.constants
        )


def dotted_name(module: Module, expression: ast.expr) -> str | None:
    """Return the full name of ``a.b.c``, where ``a`` is imported or a built-in; None for anything else."""
    parts: list[str] = []
    while isinstance(expression, ast.Attribute):
        parts.insert(0, expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name):
        return None
    if expression.id in module.imports:
        return ".".join([module.imports[expression.id], *parts])
    return expression.id if not parts and expression.id not in module.top else None


def _module(root: Path, file: Path) -> Module:
    parts = [root.name, *file.relative_to(root).with_suffix("").parts]
    is_package = parts[-1] == "__init__"
    module = Module(".".join(parts[:-1] if is_package else parts), ast.parse(file.read_text("utf-8")), is_package)
    lazy = {
        target.id
        for statement in ast.walk(module.tree)
        if isinstance(statement, ast.Assign) and "LazyModule(" in ast.unparse(statement.value)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    _read_imports(module, module.tree.body, lazy, for_types=False)
    for statement in ast.walk(module.tree):  # inside functions, too
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _read_imports(module, [s for s in ast.walk(statement) if isinstance(s, ast.stmt)], lazy, for_types=False)
    for statement in _statements(module.tree.body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            module.top[statement.name] = statement
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
                module.constants |= {target.id for target in targets if isinstance(target, ast.Name)}
    return module


def _read_imports(module: Module, body: Iterable[ast.stmt], lazy: set[str], *, for_types: bool) -> None:
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                name = alias.asname or alias.name.partition(".")[0]
                if not for_types or name in lazy:
                    module.imports[name] = alias.name if alias.asname else name
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                name = alias.asname or alias.name
                if not for_types or name in lazy:
                    module.imports[name] = f"{statement.module}.{alias.name}"
        elif isinstance(statement, ast.If):
            types = "TYPE_CHECKING" in ast.unparse(statement.test) and module.name != "minari"
            _read_imports(module, statement.body, lazy, for_types=types)
            _read_imports(module, statement.orelse, lazy, for_types=False)
        elif isinstance(statement, ast.Try):
            parts = [*statement.body, *statement.orelse, *(s for handler in statement.handlers for s in handler.body)]
            _read_imports(module, parts, lazy, for_types=for_types)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at the top of a module, those under a condition included."""
    for statement in body:
        if isinstance(statement, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(statement.test):
                yield from _statements(statement.body)
            yield from _statements(statement.orelse)
        elif isinstance(statement, ast.Try):
            yield from _statements(statement.body)
        else:
            yield statement
