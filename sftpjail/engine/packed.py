"""Long lists of records, as they come for ten thousand accounts, in little memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


class Packed:
    """A list of JSON objects. Each is kept as its text, which takes a fifth of the memory."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def append(self, item: dict[str, Any]) -> None:
        """Add an object, as it is now."""
        self._texts.append(json.dumps(item))

    def extend(self, items: Iterable[dict[str, Any]]) -> None:
        """Add objects, as they are now."""
        if isinstance(items, Packed):
            self._texts += items.texts
        else:
            self._texts += map(json.dumps, items)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def texts(self) -> Iterator[str]:
        """The texts of the objects."""
        return iter(self._texts)


def pieces(entry: dict[str, Any]) -> Iterator[str]:
    """Yield in parts what json.dumps() would return for an object with such lists in it.

    As a whole, the text about ten thousand accounts would be a fifth of all memory that they take.
    """
    begin = "{"
    for name, value in entry.items():
        yield f"{begin}{json.dumps(name)}: "
        begin = ", "
        if isinstance(value, list | Packed):
            if isinstance(value, Packed):
                texts = value.texts
            else:
                texts = map(json.dumps, value)
            yield "["
            for number, text in enumerate(texts):
                if number:
                    yield f", {text}"
                else:
                    yield text
            yield "]"
        else:
            yield json.dumps(value)
    if entry:
        yield "}"
    else:
        yield "{}"
