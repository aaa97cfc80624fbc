"""Names that differ only in numbers, in one: h.0.w, h.1.w and h.2.w are h.{0..2}.w."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["fold"]


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
