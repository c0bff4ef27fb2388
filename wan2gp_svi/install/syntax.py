"""The statements of a Python file: where each stands, and what names hold when it is reached.

Read off the syntax tree; nothing is run. Standard library only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SET, NONE, UNSET = "is set", "is None", "is not set"  #: what a name holds
_SCOPES = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.comprehension)


@dataclass(frozen=True)
class Place:
    """A statement: block[index], in a block of the node `holder`. `outer` is the place of the
    statement around it, `function` and `loop` are the innermost around it."""

    holder: ast.AST
    block: list[ast.stmt]
    index: int
    outer: Place | None
    function: ast.FunctionDef | None
    loop: ast.For | ast.While | None

    @property
    def statement(self) -> ast.stmt:
        return self.block[self.index]

    @property
    def inwards(self) -> list[Place]:
        """The places on the way from the module to this one."""
        return [*(self.outer.inwards if self.outer else ()), self]

    @property
    def inside(self) -> str:
        """The function and class around it ("WanAny2V.generate"), "" at module level."""
        return ".".join(place.holder.name for place in self.inwards
                        if isinstance(place.holder, ast.FunctionDef | ast.ClassDef))

    @property
    def hook(self) -> str:
        """The name of the hook that the statement calls, or ""."""
        match getattr(self.statement, "value", None):
            case ast.Call(func=ast.Name("svi"), args=[ast.Constant(str(name)), *_]):
                return name
        return ""


def places(node: ast.AST, outer: Place | None = None) -> Iterator[Place]:
    """All statements below a node."""
    function = node if isinstance(node, ast.FunctionDef) else getattr(outer, "function", None)
    loop = node if isinstance(node, ast.For | ast.While) else getattr(outer, "loop", None)
    for _, block in ast.iter_fields(node):
        for index, child in enumerate(block if isinstance(block, list) else ()):
            if isinstance(child, ast.stmt):
                yield (place := Place(node, block, index, outer, function, loop))
                yield from places(child, place)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                yield from places(child, outer)


def stores(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def held_at(place: Place) -> dict[str, str]:
    """What the names of a function hold when a statement is reached on the straight path. What a
    branch may have set counts as set, and the end of a loop leads to its beginning."""
    names: dict[str, str] = {}
    for step in place.inwards:
        match step.holder:
            case ast.FunctionDef(args=arguments):
                names = dict.fromkeys(bound([arguments]), SET)
            case ast.For() | ast.While() as loop if step.block is loop.body:
                again = _left_by(step.block[step.index + 1 :])
                names |= {name: held for name, held in again.items() if held == NONE}
                if isinstance(loop, ast.For):
                    names |= dict.fromkeys(bound([loop.target]), SET)
            case ast.With(items):
                names |= dict.fromkeys(bound(items), SET)
        names |= _left_by(step.block[: step.index])
    return names


def _left_by(statements: Iterable[ast.stmt]) -> dict[str, str]:
    """What statements, one after another, leave in the names that they set."""
    names: dict[str, str] = {}
    for statement in statements:
        match statement:
            case ast.Assign(targets, value):
                for target in targets:
                    names |= _stored(target, value)
            case ast.AnnAssign(target, _, ast.expr() as value):
                names |= _stored(target, value)
            case ast.Delete(targets):
                names |= {one.id: UNSET for one in targets if isinstance(one, ast.Name)}
            case ast.With(items, body) | ast.AsyncWith(items, body):
                names |= dict.fromkeys(bound(items), SET) | _left_by(body)
            case ast.Try(body, handlers, otherwise, last):
                names |= _left_by_one_of([], *(handler.body for handler in handlers))
                names |= _left_by([*body, *otherwise, *last])
            case ast.If(_, body, otherwise):
                names |= _left_by_one_of(body, otherwise)
            case _:
                names |= dict.fromkeys(bound([statement]), SET)
    return names


def _left_by_one_of(*branches: list[ast.stmt]) -> dict[str, str]:
    """A value that any branch leaves counts, None only if all do."""
    left = [_left_by(branch) for branch in branches]
    names = {name: [one.get(name) for one in left] for branch in left for name in branch}
    return {name: SET if SET in held else NONE for name, held in names.items()
            if SET in held or set(held) == {NONE}}


def _stored(target: ast.AST, value: ast.AST) -> dict[str, str]:
    match target, value:
        case ast.Name(name), ast.Constant(None):
            return {name: NONE}
        case (ast.Tuple(targets) | ast.List(targets)), (ast.Tuple(values) | ast.List(values)) if (
                len(targets) == len(values)):
            pairs = [_stored(*pair) for pair in zip(targets, values, strict=True)]
            return {name: held for one in pairs for name, held in one.items()}
    return dict.fromkeys(bound([target]), SET)


def bound(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that statements bind, without those of scopes within."""
    names: set[str] = set()
    todo = list(nodes)
    while todo:
        match node := todo.pop():
            case ast.Name(name, ast.Store()) | ast.FunctionDef(name) | ast.ClassDef(name):
                names.add(name)
            case ast.arg(name):
                names.add(name)
            case ast.ImportFrom(names=aliases) | ast.Import(aliases):
                names |= {(alias.asname or alias.name).split(".")[0] for alias in aliases}
        todo += [] if isinstance(node, _SCOPES) else ast.iter_child_nodes(node)
    return names
