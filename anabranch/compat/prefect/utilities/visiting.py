"""Prefect's `visit_collection`: a function over every element of nested collections.

    visit([1, {"a": x}], fn)
      fn(list) -> goes on inside what it returns
        fn(1), fn(dict) -> fn("a"), fn(x)
    with return_data: what has not changed comes back as the same object
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from anabranch.compat.prefect.utilities.annotations import BaseAnnotation, opaque
from anabranch.core.containers import MODEL, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable


class StopVisiting(BaseException):
    """Raised by a visitor: what it was given is not searched."""


_STEPS = 1 << 30  # the depth of an unlimited visit


@dataclass(slots=True)
class _Visit:
    fn: Callable[..., Any]
    returns: bool
    remove: bool
    takes_context: bool
    seen: dict[int, Any] = field(default_factory=dict)  # results by id of what was visited before
    kept: list[Any] = field(default_factory=list)  # keeps these ids taken

    def visit(self, expr: Any, depth: int, context: dict[str, Any] | None) -> Any:
        """Return the result for one element, and note it: shared parts stay shared, and cycles end."""
        known = self.seen.get(id(expr), self)
        if known is not self:
            return known
        context = None if context is None else context.copy()  # the visitor may change it for what is inside
        try:
            given = self._called(expr, context)
        except StopVisiting:
            return expr
        if given is None and not self.returns:
            given = expr
        if depth <= 0 or type(given) in _PLAIN:
            return given
        self.seen[id(expr)] = given
        self.kept.append(expr)
        result = self.seen[id(expr)] = self._inside(given, depth - 1, context)
        return result

    def _called(self, expr: Any, context: dict[str, Any] | None) -> Any:
        if not self.takes_context:
            return self.fn(expr)
        return self.fn(expr, context)

    def _inside(self, expr: Any, depth: int, context: dict[str, Any] | None) -> Any:
        if type(expr).__module__ == "unittest.mock":  # a mock has every attribute
            return expr
        if isinstance(expr, BaseAnnotation):
            return self._annotation(expr, depth, context)

        def one(element: Any) -> Any:
            return self.visit(element, depth, context)

        kind = type(expr)
        if kind in (list, tuple, set, frozenset) or issubclass(kind, (list, tuple, set)):
            return _listed(expr, [one(element) for element in expr])
        if kind in (dict, OrderedDict):
            items = [(one(key), one(value)) for key, value in expr.items()]
            same = all(k is key and v is value for (k, v), (key, value) in zip(items, expr.items(), strict=True))
            return expr if same else kind(items)
        if dataclasses.is_dataclass(expr) and not isinstance(expr, type):
            return self._dataclass(expr, one)
        return _model(expr, one) if kind_of(cast("Any", kind)) == MODEL else expr

    def _annotation(self, expr: BaseAnnotation[Any], depth: int, context: dict[str, Any] | None) -> Any:
        here = None if context is None else {**context, "annotation": expr}
        value = self.visit(expr.value, 0 if isinstance(expr, opaque) else depth, here)
        if self.remove:
            return value
        return expr if value is expr.value else expr.rewrap(value)

    @staticmethod
    def _dataclass(expr: Any, one: Callable[[Any], Any]) -> Any:
        old = {f.name: getattr(expr, f.name) for f in dataclasses.fields(expr)}
        new = {name: one(value) for name, value in old.items()}
        if all(new[name] is old[name] for name in old):
            return expr
        made = object.__new__(type(expr))
        for name, value in {**getattr(expr, "__dict__", {}), **new}.items():
            object.__setattr__(made, name, value)
        return made


_PLAIN = frozenset({str, bytes, int, float, bool, complex, type(None)})


def _listed(expr: Any, elements: list[Any]) -> Any:
    """Return a sequence or set of the same type; the same object where nothing has changed."""
    if all(new is old for new, old in zip(elements, expr, strict=True)):
        return expr
    kind = type(expr)
    if hasattr(kind, "_fields"):  # a named tuple
        return kind(*elements)
    return kind(elements)


def _model(expr: Any, one: Callable[[Any], Any]) -> Any:
    """Return a pydantic model with other values; private attributes, and which fields were set, stay."""
    old = {**expr.__dict__, **(expr.__pydantic_extra__ or {})}
    new = {name: one(value) for name, value in old.items()}
    changed = {name: value for name, value in new.items() if value is not old[name]}
    if not changed:
        return expr
    made = expr.model_copy()
    extra = made.__pydantic_extra__ or {}
    for name, value in changed.items():
        if name in extra:
            extra[name] = value
        else:
            made.__dict__[name] = value
    return made


def visit_collection(
    expr: Any,
    visit_fn: Callable[..., Any],
    *,
    return_data: bool = False,
    max_depth: int = -1,
    context: dict[str, Any] | None = None,
    remove_annotations: bool = False,
    _seen: Any = None,
) -> Any:
    """Call a function with every element of nested lists, tuples, sets, dicts, dataclasses, models and annotations.

    Args:
        visit_fn: called as `(element)`, or `(element, context)` where a context is given. With `return_data` what it
            returns takes the element's place, and the visit goes on inside that.
        return_data: return the collection with the new elements; parts in which nothing changed are the same objects.
        max_depth: levels below `expr` to go down; negative: all.
        context: a dict for the visitor; each level changes a copy. "annotation" is the mark around an element.
        remove_annotations: leave the marks out of the result.
    """
    visit = _Visit(visit_fn, return_data, remove_annotations, context is not None)
    depth = max_depth if max_depth >= 0 else _STEPS
    found = visit.visit(expr, depth, None if context is None else context.copy())
    return found if return_data else None
