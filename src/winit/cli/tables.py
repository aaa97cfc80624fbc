"""Tables of aligned columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from winit.cli.terminal import printable

__all__ = ["aligned"]


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lay out rows in columns as lines of text, safe for a terminal.

    Parameters
    ----------
    rows : rows of as many cells each.
    right : the columns whose cells end below each other, as numbers do; those of the others begin so.

    >>> aligned([("name", "size"), ("h", "2")], right=[1])
    ['name  size', 'h        2']

    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return [line(row) for row in cells]
