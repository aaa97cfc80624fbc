"""Draw docs/assets/law-light.svg and law-dark.svg: one tensor, cut in three ways, and the same values everywhere.

    python tools/draw_law.py

The colours are those of values that winit draws, each part on its own: threads as ranges of flat indices, shards and a
box as boxes.
"""

from pathlib import Path

import numpy as np

import winit

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
ROWS, COLUMNS, CELL, GAP = 6, 12, 24, 10
WIDTH, HEIGHT = 720, 476
THEMES = {
    "light": {
        "text": "#24292f",
        "line": "#24292f",
        "zero": "#eef0f2",
        "empty": "#c8ccd1",
        "plus": "#e8590c",
        "minus": "#1c6fd6",
    },
    "dark": {
        "text": "#e6e8eb",
        "line": "#f1f3f5",
        "zero": "#3b3f47",
        "empty": "#565b65",
        "plus": "#ff922b",
        "minus": "#4dabf7",
    },
}


def drawn(box=None):
    return winit.draw(winit.normal(), (ROWS, COLUMNS), seed=0, name="fc.weight", box=box)


def mixed(zero, full, share):
    pairs = zip(*(bytes.fromhex(colour[1:]) for colour in (zero, full)), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def colour(value, theme):
    return mixed(theme["zero"], theme["plus" if value > 0 else "minus"], min(abs(value) / 2.2, 1.0))


def cell(x, y, fill, theme):
    if fill is None:
        size, paint = CELL - 2, f'fill="none" stroke="{theme["empty"]}"'
    else:
        size, paint = CELL - 1, f'fill="{fill}"'
    inset = (CELL - size) / 2
    return f'<rect x="{x + inset:g}" y="{y + inset:g}" width="{size}" height="{size}" rx="3" {paint}/>'


def panel(left, top, title, cells, theme, lines=()):
    """A heading over cells {(row, column): (value or None, shift right, shift down)}, and lines over the cells."""
    out = [f'<text x="{left}" y="{top}" font-size="21" font-weight="600" fill="{theme["text"]}">{title}</text>']
    for (row, column), (value, right, down) in cells.items():
        x, y = left + column * CELL + right, top + 16 + row * CELL + down
        out.append(cell(x, y, None if value is None else colour(value, theme), theme))
    for points in lines:
        path = " ".join(f"{left + x * CELL},{top + 16 + y * CELL}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{theme["line"]}" stroke-width="3"/>')
    return out


def picture(theme):
    whole = drawn()
    places = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
    one = {place: (whole[place], 0, 0) for place in places}

    threads, lines, count = {}, [], ROWS * COLUMNS // 4
    for thread in range(4):
        lo = thread * count
        for i, value in enumerate(drawn(range(lo, lo + count)), lo):
            threads[divmod(i, COLUMNS)] = (value, 0, 0)
        row, column = divmod(lo, COLUMNS)
        if thread:
            lines.append(
                [(0, row + 1), (column, row + 1), (column, row), (COLUMNS, row)]
                if column
                else [(0, row), (COLUMNS, row)]
            )

    shards = {}
    for down in range(2):
        for right in range(2):
            first_row, first_column = down * ROWS // 2, right * COLUMNS // 2
            rows, columns = slice(first_row, first_row + ROWS // 2), slice(first_column, first_column + COLUMNS // 2)
            for (i, j), value in np.ndenumerate(drawn((rows, columns))):
                shards[first_row + i, first_column + j] = (value, right * GAP, down * GAP)

    box = dict.fromkeys(places, (None, 0, 0))
    for (i, j), value in np.ndenumerate(drawn((slice(2, 5), slice(3, 9)))):
        box[2 + i, 3 + j] = (value, 0, 0)
    assert all(
        value is None or value == whole[place]
        for part in (threads, shards, box)
        for place, (value, _, _) in part.items()
    )

    left, right, top, below = 16, 392, 34, 278
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif">',
        "<title>One tensor, whole, by four threads, as four shards, as one box: equal colours in equal places</title>",
        *panel(left, top, "the whole tensor", one, theme),
        *panel(right, top, "drawn by four threads", threads, theme, lines),
        *panel(left, below, "four shards", shards, theme),
        *panel(right, below, "one box alone", box, theme),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    for name, theme in THEMES.items():
        (ASSETS / f"law-{name}.svg").write_text(picture(theme))
