"""Charts as SVG text for a page: lines, bands, points, bars; every value on hover and by keyboard, scaled by a viewBox.

Series are told apart by marker and dash besides colour, and are labelled where they end. Colours are the page's style
sheet's, by class, so that a chart follows light, dark and print. Coordinates are rounded to a tenth of a unit.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["STYLES", "Bar", "Chart", "Row", "dots", "escaped", "number", "ridges", "swatch"]

STYLES = 8  # markers and colours; dashes have a period of their own, so that the ninth series differs from the first
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2")
_WIDTH = 360  # of a picture, in units which are pixels on a phone of 390
_CHARACTER = 6.9  # the width of a character, whose size is 12, on the side of caution
_LINE = 15  # from one label to the next
_EDGE = 16  # above and below a logarithmic axis, where 0 and infinity are
_MOST_POINTS = 40  # of one line, that can be pointed at; the line itself has them all


def escaped(text: object) -> str:
    r"""Escape a text for HTML and SVG; what does not print stands as Python writes it in a string.

    >>> escaped("a<b\x1b")
    'a&lt;b\\x1b'
    """
    return html.escape("".join(each if each.isprintable() else repr(each)[1:-1] for each in str(text)))


def number(value: float) -> str:
    """Write a number in three digits.

    >>> number(0.012345), number(1e-6), number(float("nan"))
    ('0.0123', '1e-6', 'n/a')
    """
    return "n/a" if math.isnan(value) else _short(f"{value:.3g}")


def _short(text: str) -> str:
    """Leave out an exponent's plus sign and zeros."""
    return re.sub(r"e([+-])0*", lambda match: "e-" if match[1] == "-" else "e", text)


def swatch(style: int) -> str:
    """Draw a style's line and marker beside a name in running text."""
    line = f'<path class="line s{style % STYLES}" d="M0 8H26"{_dash(style)}/>'
    return f'<svg class="swatch" viewBox="0 0 26 16" aria-hidden="true">{line}{_marker(style, 13, 8)}</svg>'


def _dash(style: int) -> str:
    dashes = _DASHES[style % len(_DASHES)]
    return f' stroke-dasharray="{dashes}"' if dashes else ""


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _marker(style: int, x: float, y: float) -> str:
    r = 4.0
    shapes = (
        f"M{_at(x - r)} {_at(y)}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 -{2 * r} 0Z",
        f"M{_at(x - 3.5)} {_at(y - 3.5)}h7v7h-7Z",
        f"M{_at(x)} {_at(y - 4.8)}l4.6 8h-9.2Z",
        f"M{_at(x)} {_at(y - 5)}l5 5l-5 5l-5 -5Z",
        f"M{_at(x)} {_at(y + 4.8)}l4.6 -8h-9.2Z",
        f"M{_at(x - 4)} {_at(y - 4)}l8 8m0 -8l-8 8",
        f"M{_at(x - 5)} {_at(y)}h10m-5 -5v10",
        f"M{_at(x)} {_at(y - 5)}l1.5 3.5h3.5l-2.8 2.4l1 3.9l-3.2 -2.2l-3.2 2.2l1 -3.9l-2.8 -2.4h3.5Z",
    )
    kind = style % STYLES
    return f'<path class="mark s{kind}{" open" if kind in (5, 6) else ""}" d="{shapes[kind]}"/>'


def _point(inside: str, text: str) -> str:
    return f'<g class="pt" tabindex="0" role="img"><title>{escaped(text)}</title>{inside}</g>'


def _words(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    kinds = f' class="{kind}"' if kind else ""
    anchors = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{_at(x)}" y="{_at(y)}"{kinds}{anchors}>{escaped(text)}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _framed(identity: str, title: str, description: str, height: float, inside: Sequence[str]) -> str:
    """A figure: its caption, the picture with its text alternatives, and a line for the value that is pointed at."""
    return (
        f'<figure class="chart" id="{identity}"><figcaption>{escaped(title)}</figcaption>'
        f'<svg viewBox="0 0 {_WIDTH} {_at(height)}" role="img" aria-labelledby="{identity}-t {identity}-d">'
        f'<title id="{identity}-t">{escaped(title)}</title>'
        f'<desc id="{identity}-d">{escaped(description)}</desc>'
        + "".join(inside)
        + '</svg><p class="read" aria-live="polite"></p></figure>'
    )


# ---- axes


class Scale:
    """Places values between two ends of a picture; 0 and infinities of a logarithmic scale beyond its ends."""

    def __init__(self, values: Sequence[float], begin: float, end: float, log: bool) -> None:
        self.log, self.begin, self.end = log, begin, end
        known = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
        self.empty = not values
        self.zero = log and any(value == 0 for value in values)
        self.infinite = any(value == math.inf for value in values)
        turned = [math.log10(value) if log else value for value in known] or [0.0]
        low, high = min(turned), max(turned)
        least = 0.6 if log else max(abs(high), abs(low)) * 0.05 or 1.0
        if high - low < least:
            low, high = (low + high - least) / 2, (low + high + least) / 2
        margin = 0.04 * (high - low)
        self.low, self.high = low - margin, high + margin
        sign = 1 if end > begin else -1
        self.inner = begin + sign * _EDGE * self.zero, end - sign * _EDGE * self.infinite

    def __call__(self, value: float) -> float:
        if value == math.inf:
            return self.end
        if self.log and value <= 0:
            return self.begin
        turned = math.log10(value) if self.log else value
        first, last = self.inner
        return first + (turned - self.low) / (self.high - self.low) * (last - first)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Places and labels, at most so many besides those of 0 and infinity."""
        if self.empty:
            return []
        found = [(self(value), _tick(value)) for value in (self._decades(most) if self.log else self._even(most))]
        found += [(self.begin, "0")] * self.zero + [(self.end, "inf")] * self.infinite
        return found

    def _decades(self, most: int) -> list[float]:
        first, last = math.ceil(self.low), math.floor(self.high)
        if last - first >= 1:
            step = -(-(last - first + 1) // most)
            # Steps from 10^0 on, so that pictures beside each other have the same ones.
            return [float(f"1e{power}") for power in range(first, last + 1) if power % step == 0]
        for digits in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
            values = [float(f"{digit}e{power}") for power in range(first - 2, last + 3) for digit in digits]
            inside = [value for value in values if self.low <= math.log10(value) <= self.high]
            if len(inside) >= 2:
                break
        return inside[:: -(-len(inside) // most)] if inside else []

    def _even(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next((digit * power for digit in (1, 2, 5, 10) if digit * power >= rough), 10 * power)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [place * step for place in range(first, last + 1)]


def _tick(value: float) -> str:
    return _short(f"{value:.6g}")


# ---- lines over an axis


class _Line(NamedTuple):
    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: int
    dashed: bool
    joined: bool
    labelled: bool
    says: Sequence[str] | None


class Chart:
    """Lines, bands and points over two axes.

    Parameters
    ----------
    title : what is above it. description : what a reader who does not see it is told.
    x_label, y_label : of the axes. log_x, log_y : whether they are logarithmic.
    height : of the picture. labels : whether lines are labelled where they end.
    back : whether the x axis runs from its largest value to its smallest.

    """

    def __init__(
        self,
        title: str,
        description: str,
        x_label: str,
        y_label: str,
        *,
        log_x: bool = False,
        log_y: bool = False,
        height: float = 240,
        labels: bool = True,
        back: bool = False,
    ) -> None:
        self.back = back
        self.title, self.description, self.x_label, self.y_label = title, description, x_label, y_label
        self.log_x, self.log_y, self.height, self.labels = log_x, log_y, height, labels
        self._lines: list[_Line] = []
        self._bands: list[tuple[Sequence[float], Sequence[float], Sequence[float], int]] = []

    def line(
        self,
        name: str,
        xs: Sequence[float],
        ys: Sequence[float],
        style: int,
        *,
        dashed: bool = False,
        joined: bool = True,
        labelled: bool | None = None,
        says: Sequence[str] | None = None,
    ) -> None:
        """Add a line.

        Parameters
        ----------
        dashed : whether it is a theory's, without markers. joined : False for points alone.
        labelled : whether its name stands where it ends: by default if it is joined and not dashed.
        says : what each point says.

        """
        named = bool(name) and self.labels and (joined and not dashed if labelled is None else labelled)
        self._lines.append(_Line(name, xs, ys, style, dashed, joined, named, says))

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: int) -> None:
        """Shade what is between two lines."""
        self._bands.append((xs, lows, highs, style))

    def render(self, identity: str) -> str:
        """Return the figure, whose ids begin with identity."""
        named = [line for line in self._lines if line.labelled]
        longest = max((len(_cut(line.name, 15)) for line in named), default=0)
        right = _WIDTH - (longest * _CHARACTER + 20 if named else 12)
        height = max(self.height, len(named) * _LINE + 70)
        top, bottom, left = 26.0, height - 38, 50.0
        xs = [x for line in self._lines for x in line.xs]
        ys = [y for line in self._lines for y in line.ys]
        ys += [y for _, lows, highs, _ in self._bands for y in (*lows, *highs)]
        first, last = (right - 4, left + 4) if self.back else (left + 4, right - 4)
        x = Scale(xs, first, last, self.log_x)
        y = Scale(ys, bottom, top, self.log_y)
        out = [_words(4, 14, self.y_label, "axis")]
        for place, label in y.ticks(6):
            out.append(f'<path class="rule" d="M{_at(left)} {_at(place)}H{_at(right)}"/>')
            out.append(_words(left - 5, place + 4, label, "tick", "end"))
        ended = -math.inf
        for place, label in sorted(x.ticks(6)):
            half = len(label) * _CHARACTER / 2
            if place - half > ended + 4 and place + half <= _WIDTH:
                out.append(f'<path class="rule" d="M{_at(place)} {_at(bottom)}v4"/>')
                out.append(_words(place, bottom + 17, label, "tick", "middle"))
                ended = place + half
        out.append(_words((left + right) / 2, height - 6, self.x_label, "axis", "middle"))
        for band_xs, lows, highs, style in self._bands:
            out.append(self._shaded(x, y, band_xs, lows, highs, style))
        for line in self._lines:
            out += self._drawn(x, y, line)
        out += self._labels(named, y, right, top, bottom)
        return _framed(identity, self.title, self.description, height, out)

    def _shaded(
        self, x: Scale, y: Scale, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], style: int
    ) -> str:
        known = [(a, low, high) for a, low, high in zip(xs, lows, highs, strict=True) if not math.isnan(low + high)]
        if not known:
            return ""
        there = [f"{_at(x(a))} {_at(y(high))}" for a, _, high in known]
        back = [f"{_at(x(a))} {_at(y(low))}" for a, low, _ in reversed(known)]
        return f'<path class="band s{style % STYLES}" d="M{"L".join([*there, *back])}Z"/>'

    def _drawn(self, x: Scale, y: Scale, line: _Line) -> list[str]:
        known = [at for at in range(len(line.xs)) if not math.isnan(line.ys[at])]
        places = {at: (x(line.xs[at]), y(line.ys[at])) for at in known}
        out = []
        if line.joined and len(known) > 1:
            path = "L".join(f"{_at(a)} {_at(b)}" for a, b in places.values())
            dash = ' stroke-dasharray="4 4"' if line.dashed else _dash(line.style)
            kind = "theory" if line.dashed else "line"
            out.append(f'<path class="{kind} s{line.style % STYLES}" d="M{path}"{dash}/>')
        if line.dashed:
            return out
        step = max(-(-len(known) // _MOST_POINTS), 1) if line.joined else 1
        for at in dict.fromkeys([*known[::step], *known[-1:]]):
            said = line.says[at] if line.says else f"{line.name}: {number(line.ys[at])} at {number(line.xs[at])}"
            out.append(_point(_marker(line.style, *places[at]), said))
        return out

    def _labels(self, named: Sequence[_Line], y: Scale, right: float, top: float, bottom: float) -> list[str]:
        """Names at the ends of lines, moved apart as far as they must be, with a hair to where they belong."""
        ends = []
        for line in named:
            known = [value for value in line.ys if not math.isnan(value)]
            if known:
                ends.append((y(known[0 if self.back else -1]), line))
        ends.sort(key=lambda end: end[0])
        places = [place for place, _ in ends]
        for at in range(1, len(places)):
            places[at] = max(places[at], places[at - 1] + _LINE)
        over = places[-1] - bottom if places else 0.0
        for at in range(len(places) - 1, -1, -1):
            most = bottom if at == len(places) - 1 else places[at + 1] - _LINE
            places[at] = min(places[at], most) if over > 0 else places[at]
        out = []
        for place, (end, line) in zip(places, ends, strict=True):
            out.append(f'<path class="hair" d="M{_at(right - 4)} {_at(end)}L{_at(right + 8)} {_at(place)}"/>')
            out.append(_words(right + 11, place + 4, _cut(line.name, 15), "label"))
        return out


# ---- rows


class Bar(NamedTuple):
    """One bar of a row: from where to where, how high as a share, and what it says."""

    low: float
    high: float
    share: float
    says: str


class Row(NamedTuple):
    """A row of a picture: its name, its bars, and what stands at its end."""

    name: str
    bars: Sequence[Bar]
    note: str = ""


def ridges(
    identity: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    label: str,
    style: int,
    *,
    log: bool = True,
    curve: Sequence[tuple[float, float]] = (),
    each: float = 34,
) -> str:
    """Draw histograms below each other on one axis, all to one scale of shares; a curve, dashed, over the last."""
    left = max((len(row.name) for row in rows), default=0) * _CHARACTER + 8
    right = _WIDTH - max((len(row.note) for row in rows), default=0) * _CHARACTER - 8
    ends = [end for row in rows for bar in row.bars for end in (bar.low, bar.high)] + [a for a, _ in curve]
    x = Scale(ends, left, right, log)
    shares = [bar.share for row in rows for bar in row.bars] + [b for _, b in curve]
    tallest = max(shares, default=0.0) or 1.0
    height = len(rows) * each + 44
    out = []
    base = 6.0
    for row in rows:
        base += each
        out.append(f'<path class="rule" d="M{_at(left)} {_at(base)}H{_at(right)}"/>')
        if row.name:
            out.append(_words(left - 6, base - 1, row.name, "tick", "end"))
        if row.note:
            out.append(_words(right + 6, base - 1, row.note, "tick"))
        for bar in row.bars:
            begin, end = x(bar.low), x(bar.high)
            up = max(bar.share / tallest * (each - 4), 0.8)
            box = f'x="{_at(begin)}" y="{_at(base - up)}" width="{_at(max(end - begin - 0.5, 0.6))}"'
            out.append(_point(f'<rect class="bar s{style % STYLES}" {box} height="{_at(up)}"/>', bar.says))
    if curve:
        path = "L".join(f"{_at(x(a))} {_at(base - min(b / tallest, 1.0) * (each - 4))}" for a, b in curve)
        out.append(f'<path class="theory ink" d="M{path}" stroke-dasharray="4 3"/>')
    out += _beneath(x, base, height, label, left, right)
    return _framed(identity, title, description, height, out)


def _beneath(x: Scale, base: float, height: float, label: str, left: float, right: float) -> list[str]:
    """The ticks and the label of an axis below rows."""
    out, ended = [], -math.inf
    for place, text in sorted(x.ticks(5)):
        half = len(text) * _CHARACTER / 2
        if place - half > ended + 4 and place - half >= 0 and place + half <= _WIDTH:
            out.append(f'<path class="rule" d="M{_at(place)} {_at(base)}v4"/>')
            out.append(_words(place, base + 17, text, "tick", "middle"))
            ended = place + half
    return [*out, _words((left + right) / 2, height - 5, label, "axis", "middle")]


def dots(
    identity: str,
    title: str,
    description: str,
    rows: Sequence[tuple[str, Sequence[tuple[float, int, str]]]],
    label: str,
    *,
    log: bool = False,
    lines: Sequence[tuple[float, str]] = (),
    ends: Sequence[float] = (),
    apart: bool = False,
) -> str:
    """Draw a row of points for each name: value, style and what the point says.

    Parameters
    ----------
    lines : at most two values where a vertical line is drawn, ascending, with names above. ends : values that the axis
        must reach.
    apart : whether the points of a row stand below each other.

    """
    left, right, each = 12.0, _WIDTH - 24.0, 32.0
    top = 20.0 if lines else 6.0
    values = [value for _, points in rows for value, _, _ in points]
    x = Scale([*values, *ends, *(value for value, _ in lines)], left, right, log)
    base = top + len(rows) * each
    out = []
    for at, (value, name) in enumerate(lines):
        place = x(value)
        out.append(f'<path class="hair" d="M{_at(place)} {_at(top - 16)}V{_at(base)}"/>')
        # The first name stands to the left of its line, where there is room.
        right_of = at or place < len(name) * _CHARACTER
        out.append(_words(place + (4 if right_of else -4), top - 6, name, "tick", "" if right_of else "end"))
    for at, (name, points) in enumerate(rows):
        place = top + at * each + 24
        out.append(_words(left, place - 10, _cut(name, 46), "label"))
        out.append(f'<path class="rule" d="M{_at(left)} {_at(place)}H{_at(right)}"/>')
        for below, (value, style, says) in enumerate(points):
            moved = place + (10 * below - 5 if apart else 0)
            out.append(_point(_marker(style, x(value), moved), says))
    out += _beneath(x, base, base + 40, label, left, right)
    return _framed(identity, title, description, base + 40, out)
