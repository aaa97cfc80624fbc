"""The page around charts and tables: one HTML document that fetches nothing, for any width, for light, dark and print.

All that is given as text is escaped here or in winit.lab.svg; what is given as `parts` has come from these functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from winit.lab.svg import escaped, number

__all__ = ["Ids", "document", "grid", "items", "note", "paragraph", "plain", "section", "table", "unfolded"]

_MOST_ROWS = 60  # of a table of layers; the caption says what is left out

_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--muted:#505a66;--grid:#d3d9e0;--shade:#f3f5f8;--focus:#0b57d0;
--c0:#0072b2;--c1:#c44e00;--c2:#007a5a;--c3:#8544a0;--c4:#8a5a00;--c5:#1f6fa8;--c6:#b8326f;--c7:#3c4450}
@media (prefers-color-scheme:dark){:root{--paper:#14171c;--ink:#e7eaef;--muted:#aab4c0;--grid:#39414c;--shade:#1d222a;
--focus:#8ab4f8;--c0:#5ab6ec;--c1:#ff9a52;--c2:#43cfa2;--c3:#cfa3ea;--c4:#e4b64a;--c5:#8fcdf5;--c6:#ff8fbd;--c7:#cfd6df}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main,header{max-width:1200px;margin:0 auto;padding:0 16px}
header{padding-top:24px}main{padding-bottom:48px}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 8px;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:40px 0 8px;padding-top:8px;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:24px 0 4px;overflow-wrap:anywhere}
p,li{max-width:75ch;margin:0 0 8px;overflow-wrap:anywhere}ul{margin:0 0 8px;padding-left:1.3em}
a{color:var(--focus)}.muted{color:var(--muted);font-size:.875rem}
.skip{position:absolute;left:-999px}.skip:focus{left:16px;top:8px;background:var(--paper);padding:8px;z-index:1}
:focus-visible{outline:3px solid var(--focus);outline-offset:2px}
.scroll{overflow-x:auto;max-width:100%;margin:8px 0 16px;position:relative}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);padding-bottom:4px;max-width:min(75ch,100vw - 32px)}
th,td{padding:4px 10px;border-bottom:1px solid var(--grid);text-align:left;vertical-align:top;white-space:nowrap}
th.n,td.n{text-align:right}td.w{white-space:normal;min-width:16em}thead th{border-bottom:2px solid var(--muted)}
tbody th{font-weight:600;white-space:normal;overflow-wrap:anywhere;min-width:9.5em}
tbody th:has(svg){white-space:nowrap}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,360px),1fr));gap:12px 24px;align-items:start}
.chart{margin:0;max-width:540px;min-width:0}.chart figcaption{font-weight:600;font-size:.9375rem;overflow-wrap:anywhere}
.chart svg{display:block;width:100%;height:auto;overflow:visible}
.read{min-height:1.4em;margin:0;font-size:.8125rem;line-height:1.4;color:var(--muted)}
svg text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--ink)}svg .tick,svg .axis{fill:var(--muted)}
svg .label{paint-order:stroke;stroke:var(--paper);stroke-width:3px}
path.rule{stroke:var(--grid);fill:none}path.hair{stroke:var(--muted);fill:none;stroke-width:.8}
.line,.theory{fill:none;stroke:var(--c);stroke-width:1.8}.theory{stroke-width:1.5;opacity:.9}.theory.ink{stroke:var(--ink)}
.band{fill:var(--c);opacity:.16;stroke:none}.bar{fill:var(--c)}
.mark{fill:var(--c);stroke:var(--paper);stroke-width:.8}.mark.open{fill:none;stroke:var(--c);stroke-width:2}
.pt{outline:none}.pt:focus-visible .mark,.pt:focus-visible .bar,
.pt.on .mark,.pt.on .bar{stroke:var(--ink);stroke-width:2.5}
.s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}
.s4{--c:var(--c4)}.s5{--c:var(--c5)}.s6{--c:var(--c6)}.s7{--c:var(--c7)}
.swatch{width:26px;height:16px;vertical-align:-3px;margin-right:6px}
pre{background:var(--shade);padding:12px;margin:8px 0;font-size:.8125rem;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:8px 0}summary{cursor:pointer;padding:4px 0}
@media print{:root{--paper:#fff;--ink:#000;--muted:#444;--grid:#bbb;--shade:#f3f3f3;--c0:#0072b2;--c1:#c44e00;
--c2:#007a5a;--c3:#8544a0;--c4:#8a5a00;--c5:#1f6fa8;--c6:#b8326f;--c7:#3c4450}body{font-size:11pt}
.skip,.read{display:none}.scroll{overflow:visible}figure,tr,pre{break-inside:avoid}h2,h3{break-after:avoid}
.grid{grid-template-columns:1fr 1fr}th,td{white-space:normal;padding:2px 5px;font-size:8pt}}
"""

# One tab stop a picture, arrows from point to point, and what is pointed at written below: without it each point is a
# tab stop, and its title is there all the same.
_SCRIPT = """
for(const chart of document.querySelectorAll(".chart")){
const points=[...chart.querySelectorAll(".pt")],read=chart.querySelector(".read");
const say=p=>{for(const q of points)q.classList.toggle("on",q===p);read.textContent=p?p.firstChild.textContent:""};
points.forEach((p,i)=>{p.setAttribute("tabindex",i?-1:0);p.addEventListener("focus",()=>say(p));
p.addEventListener("blur",()=>say(null));
p.addEventListener("keydown",e=>{const to={ArrowRight:i+1,ArrowDown:i+1,ArrowLeft:i-1,ArrowUp:i-1,Home:0,
End:points.length-1}[e.key];if(to!==undefined&&points[to]){e.preventDefault();p.setAttribute("tabindex",-1);
points[to].setAttribute("tabindex",0);points[to].focus()}})});
const near=e=>{let best=null,least=1600;for(const p of points){const b=p.getBoundingClientRect();
const x=Math.max(b.left-e.clientX,0,e.clientX-b.right),y=Math.max(b.top-e.clientY,0,e.clientY-b.bottom);
if(x*x+y*y<least){least=x*x+y*y;best=p}}say(best)};
const svg=chart.querySelector("svg");svg.addEventListener("pointermove",near);svg.addEventListener("pointerdown",near);
svg.addEventListener("pointerleave",()=>say(null))}
addEventListener("beforeprint",()=>{for(const d of document.querySelectorAll("details"))d.open=true});
"""


class Ids:
    """Give ids that no other element of the page has."""

    def __init__(self) -> None:
        self.count = 0

    def next(self, stem: str) -> str:
        """Return an id."""
        self.count += 1
        return f"{stem}-{self.count}"


def plain(value: Any) -> Any:
    """Return what JSON can write: numbers that it cannot are the strings "nan", "inf" and "-inf".

    >>> plain({"std": [0.5, float("inf")]})
    {'std': [0.5, 'inf']}
    """
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def paragraph(text: str) -> str:
    """Write a paragraph."""
    return f"<p>{escaped(text)}</p>"


def note(text: str) -> str:
    """Write a paragraph that explains what is above it."""
    return f'<p class="muted">{escaped(text)}</p>'


def items(texts: Sequence[str]) -> str:
    """Write a list."""
    return f"<ul>{''.join(f'<li>{escaped(text)}</li>' for text in texts)}</ul>"


def grid(charts: Sequence[str]) -> str:
    """Put pictures beside each other, as many as there is room for."""
    return f'<div class="grid">{"".join(charts)}</div>'


def unfolded(summary: str, parts: Sequence[str]) -> str:
    """Fold parts away until a reader unfolds them."""
    return f"<details><summary>{escaped(summary)}</summary>{''.join(parts)}</details>"


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else f"{value:,}" if type(value) is int else escaped(value)


def table(
    ids: Ids,
    caption: str,
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    wide: Sequence[str] = (),
    marks: Sequence[str] = (),
    most: int | None = _MOST_ROWS,
) -> str:
    """Write a table that scrolls by itself where the page is narrower; the first cell of a row is its header.

    Parameters
    ----------
    names : of the columns. rows : numbers, which are aligned to the right, and texts.
    wide : names of columns whose text may take several lines.
    marks : what stands before the first cell of each row, written already.
    most : int or None. Of more rows than these, write evenly spaced ones, and say so.

    """
    shown = range(len(rows))
    if most is not None and len(rows) > most:
        shown = range(0, len(rows), -(-len(rows) // most))
        caption = f"{caption} {len(list(shown))} of {len(rows):,} rows; --json has them all."
    numeric = [
        bool(rows) and all(isinstance(row[at], (int, float)) or row[at] == "" for row in rows)
        for at in range(len(names))
    ]
    kinds = [
        ' class="n"' if right else ' class="w"' if name in wide else ""
        for name, right in zip(names, numeric, strict=True)
    ]
    identity = ids.next("table")
    head = "".join(f'<th scope="col"{kind}>{escaped(name)}</th>' for name, kind in zip(names, kinds, strict=True))
    body = []
    for at in shown:
        first, *others = rows[at]
        mark = marks[at] if marks else ""
        cells = "".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(others, kinds[1:], strict=True))
        body.append(f'<tr><th scope="row"{kinds[0]}>{mark}{_cell(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{identity}"><table>'
        f'<caption id="{identity}">{escaped(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def section(heading: str, parts: Sequence[str], level: int = 2) -> str:
    """Write a heading and what belongs to it."""
    return f"<section><h{level}>{escaped(heading)}</h{level}>{''.join(parts)}</section>"


def document(title: str, lede: str, parts: Sequence[str], command: str, version: str) -> str:
    """Write the page.

    Parameters
    ----------
    title, lede : its name, and what it is about. parts : its sections. command : what makes the page again.

    """
    again = section(
        "The command that makes this page",
        [
            f'<pre tabindex="0" role="region" aria-label="Command">{escaped(command)}</pre>',
            note(f"Written by winit {version}. The same command gives the same page, byte by byte."),
        ],
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head>\n"
        f'<body><a class="skip" href="#content">Skip to the results</a><header><h1>{escaped(title)}</h1>'
        f'<p>{escaped(lede)}</p></header>\n<main id="content" tabindex="-1">'
        + "\n".join([*parts, again])
        + f"</main><script>{_SCRIPT}</script></body></html>\n"
    )
