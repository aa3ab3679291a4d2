"""Frozen keyword-only values between the stages of the pipeline.

What `dataclasses` would give; but importing that costs more than all the rest of the launcher (11 ms, by way
of `inspect`). Fields are the class's annotations, defaults its attributes; a default must be immutable.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        return lambda cls: cls


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=True)
class Record:
    """Base of the frozen values. `R(a=1, b=2)`; compare by value; `replace`, `fields`."""

    _fields: tuple[str, ...] = ()
    _known: frozenset[str] = frozenset()
    _needed: frozenset[str] = frozenset()

    def __init_subclass__(cls) -> None:
        cls._fields = (*cls._fields, *(n for n in vars(cls).get("__annotations__", ()) if n[0] != "_"))
        cls._known = frozenset(cls._fields)
        cls._needed = frozenset(n for n in cls._fields if not hasattr(cls, n))

    if not TYPE_CHECKING:

        def __init__(self, **values: object) -> None:
            # Some three hundred are made at each start: no more is looked at than tells right from wrong.
            if not self._needed <= values.keys() <= self._known:
                wrong = sorted((self._needed - values.keys()) | (values.keys() - self._known))
                raise TypeError(f"{type(self).__name__}: missing or unknown: {', '.join(wrong)}")
            self.__dict__.update(values)

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is frozen; use replace()")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash((type(self), *self.fields().values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.fields().items())})"

    def fields(self) -> dict[str, Any]:
        """Every field with its value, in the order of declaration."""
        return {name: getattr(self, name) for name in self._fields}

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401  (any field's type)
        """A copy with some fields changed."""
        return type(self)(**{**self.fields(), **changes})
