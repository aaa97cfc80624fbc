"""What the lab's functions return: a small table that prints well and converts to what others plot and read."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from winit._core.checks import check_integer, check_text, items_of, shown

__all__ = ["Table"]


class Table(Sequence[dict[str, Any]]):
    """Hold rows of named columns.

    A row is a dict, and the table a sequence of rows. Floats are never None: what cannot be said is NaN.

    Parameters
    ----------
    columns : mapping from names to lists of equal length.
    title : str. What stands above the table where it is printed.

    >>> table = Table({"layer": [1, 2], "std": [0.5, 0.25]})
    >>> table[1]["std"], table.column("layer")
    (0.25, [1, 2])
    >>> print(table)
    layer   std
        1   0.5
        2  0.25

    """

    def __init__(self, columns: Mapping[str, Sequence[Any]], title: str = "") -> None:
        if not isinstance(columns, Mapping):
            raise TypeError(f"columns must be a mapping from names to lists, not {shown(columns)}")
        self._columns = {}
        for name, values in columns.items():
            listed = None if isinstance(values, (str, bytes)) else items_of(values)
            if listed is None:
                raise TypeError(f"a column must be a list of values, not {shown(values)}")
            self._columns[check_text(name, "a column's name")] = listed
        self.title = check_text(title, "title")
        lengths = {len(values) for values in self._columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"columns must have equal lengths, not {sorted(lengths)}")
        self._length = lengths.pop() if lengths else 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            try:
                return [self[i] for i in range(*row.indices(len(self)))]
            except TypeError:
                raise TypeError(f"a slice of rows must have integers, not {shown(row)}") from None
        place = check_integer(row, "a row", None)
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of a table of {len(self)}")
        return {name: values[place] for name, values in self._columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self._columns)

    def column(self, name: str) -> list[Any]:
        """Return the values of a column."""
        if check_text(name, "name") not in self._columns:
            raise ValueError(f"the table has no column {shown(name)}; it has {', '.join(self._columns)}")
        return list(self._columns[name])

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns: name to list."""
        return {name: list(values) for name, values in self._columns.items()}

    def to_csv(self) -> str:
        """Return the table as CSV, a line of names first; numbers with all their digits."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self._columns)
        writer.writerows(zip(*self._columns.values(), strict=True))
        return text.getvalue()

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame. ImportError without pandas."""
        try:
            import pandas as pd  # type: ignore[import-untyped]
        except ImportError:
            raise ImportError("a data frame needs pandas, which is not installed: pip install pandas") from None

        return pd.DataFrame(self._columns)

    def __str__(self) -> str:
        cells = [self.names, *([_shown(value) for value in row.values()] for row in self)]
        numeric = [not any(isinstance(value, str) for value in values) for values in self._columns.values()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numeric, strict=True)
            ).rstrip()
            for row in cells
        ]
        return "\n".join([self.title, *lines] if self.title else lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self._columns)
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_shown(value))}</td>" for value in row.values()) + "</tr>"
            for row in self
        )
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
