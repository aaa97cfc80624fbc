"""Names that differ only in numbers, in one: h.0.w, h.1.w and h.2.w are h.{0..2}.w."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from winit._plans.numbered_names import numbered

__all__ = ["fold", "fold_alike"]


def fold(text: Sequence[str], numbers: Iterable[tuple[int, ...]]) -> list[tuple[str, list[tuple[int, ...]]]]:
    """Write the names that have one text and these different numbers as few folded names.

    A folded name stands for every combination of the numbers in its braces, so numbers of which only some
    combinations are there take several. They stand in the order in which the first name of each was given.

    Returns
    -------
    list : each folded name, and the numbers of the names that it stands for, in the order given.

    >>> [name for name, _ in fold(("h.", ".w"), [(0,), (1,), (2,), (5,)])]
    ['h.{0..2,5}.w']
    >>> [name for name, _ in fold(("h.", ".", ""), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)])]
    ['h.{0..1}.{0..1}', 'h.2.0']

    """
    given = list(dict.fromkeys(numbers))
    owner: dict[tuple[int, ...], int] = {}
    boxes = _boxes(given)
    for index, box in enumerate(boxes):
        for point in _points(box):
            owner[point] = index
    members: dict[int, list[tuple[int, ...]]] = {}
    for point in given:
        members.setdefault(owner[point], []).append(point)
    return [(_written(text, boxes[index]), points) for index, points in members.items()]


def fold_alike(names: Iterable[tuple[str, object]], every: bool = False) -> list[tuple[str, list[str]]]:
    """Fold names of one kind that differ in numbers alone.

    Parameters
    ----------
    names : each name and its kind, which is hashable; names of different kinds are never folded together.
    every : bool. Fold nothing.

    Returns
    -------
    list : each folded name, and the names that it stands for.

    >>> fold_alike([("h.0.w", "matrix"), ("h.1.w", "matrix"), ("h.2.w", "vector")])
    [('h.{0..1}.w', ['h.0.w', 'h.1.w']), ('h.2.w', ['h.2.w'])]

    """
    alike: dict[tuple[tuple[str, ...], object], dict[tuple[int, ...], str]] = {}
    order: dict[str, int] = {}
    for name, kind in names:
        order[name] = len(order)
        text, numbers = ((name,), ()) if every else numbered(name)
        alike.setdefault((text, kind), {})[numbers] = name
    rows = [
        (order[members[points[0]]], folded, [members[point] for point in points])
        for (text, _), members in alike.items()
        for folded, points in fold(text, members)
    ]
    return [(folded, members) for _, folded, members in sorted(rows)]


Box = tuple[tuple[int, ...], ...]  # the numbers at each place; it holds their every combination


def _boxes(points: Sequence[tuple[int, ...]]) -> list[Box]:
    """Part different points into boxes, few if not the fewest: first numbers that go with the same rest go together."""
    if not points[0]:
        return [()]
    rests: dict[int, list[tuple[int, ...]]] = {}
    for point in points:
        rests.setdefault(point[0], []).append(point[1:])
    firsts: dict[frozenset[tuple[int, ...]], list[int]] = {}
    for first, rest in rests.items():
        firsts.setdefault(frozenset(rest), []).append(first)
    return [(tuple(same), *box) for same in firsts.values() for box in _boxes(rests[same[0]])]


def _points(box: Box) -> list[tuple[int, ...]]:
    points: list[tuple[int, ...]] = [()]
    for choices in box:
        points = [(*point, number) for point in points for number in choices]
    return points


def _written(text: Sequence[str], box: Box) -> str:
    places = ["{" + _ranges(choices) + "}" if len(choices) > 1 else str(choices[0]) for choices in box]
    return text[0] + "".join(place + piece for place, piece in zip(places, text[1:], strict=True))


def _ranges(numbers: Iterable[int]) -> str:
    """Write numbers in ascending order, those that follow each other as a range.

    >>> _ranges([0, 1, 2, 5])
    '0..2,5'
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(lo) if lo == hi else f"{lo}..{hi}" for lo, hi in runs)
