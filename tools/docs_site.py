"""What mkdocs.yml adds to MkDocs: our docstrings in the form that griffe reads, and the command line's own help.

Our docstrings say in one line what numpydoc says in two (`seed : int, 0 <= seed < 2^64.`), put several errors into one
line, and end in doctests without a heading. griffe would take the whole line for a type, and Markdown a doctest for a
quotation. `OneLineDocstrings` rewrites them before they are read; types come from the signatures.
"""

import importlib
import inspect
import os
import re
import subprocess
import sys

import griffe

_RETURNED = ("Pretrained", "Report", "Stats", "Tape")  # classes that docs/reference describes as winit's
_SECTIONS = {"Parameters", "Returns", "Raises"}
_HEADING = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\S[^:\n]*?) : ?(.*(?:\n[ \t]+.*)*)", re.MULTILINE)
_ERROR = re.compile(r"(?:^|(?<=[.;]) )((?:[A-Z]\w*(?:Error|Exception)(?:, )?)+) : ", re.MULTILINE)
_CODE = re.compile(r"(`[^`]*`)")


def _words(text):
    """One paragraph on one line, with nothing left in it that Markdown would take for its own."""
    parts = _CODE.split(" ".join(text.split()))
    for i in range(0, len(parts), 2):
        part = re.sub(r"[\\*\[\]]|^>", r"\\\g<0>", parts[i]).replace("<", "&lt;")
        parts[i] = re.sub(r"(?<!\w)_+|_+(?!\w)", lambda match: "\\_" * len(match[0]), part)
    return "".join(parts)


def _prose(block):
    """A paragraph; a table of reStructuredText as it stands, and lists and what is indented too."""
    if block.startswith("==="):
        return "\n".join("    " + line for line in block.splitlines() if not line.startswith("==="))
    return block if re.match(r"\s|[-*|] ", block) else _words(block)


def _entry(names, text):
    return f"{names}\n    {_words(text) or ' '}"


def _parameters(text, annotations):
    """Entries `name, other : type, and what it means.`; the type goes where the signature tells it."""
    found = []
    for names, meaning in _ENTRY.findall(text):
        for name in names.split(","):
            annotation = annotations.get(name.strip(" *"))
            known = annotation is not None and re.match(re.escape(str(annotation)) + r"(?:[.,] ?|$)", meaning)
            found.append(_entry(name.strip(), meaning[known.end() :] if known else meaning))
    return "\n".join(found)


def _errors(text):
    pieces = _ERROR.split(" ".join(text.split()))[1:]
    return "\n".join(
        _entry(kind.replace(", ", " | "), why) for kind, why in zip(pieces[::2], pieces[1::2], strict=True)
    )


def _results(text, annotation):
    text = " ".join(text.split())
    kind, colon, meaning = text.partition(" : ")
    if colon:
        return _entry(annotation or kind, meaning)
    return _entry(annotation, text) if annotation else _entry(text, "")


def rewritten(text, annotations=None, result=None):
    """Turn a docstring of this project into a numpydoc one: text, parameters, results, errors, examples.

    >>> print(rewritten('''Do it.
    ...
    ... Parameters
    ... ----------
    ... seed : int, 0 <= seed < 2^64.
    ...
    ... Raises
    ... ------
    ... TypeError : not an integer. ValueError : too large.
    ...
    ... Source: nobody.
    ... ''', {"seed": "int"}))
    Do it.
    <BLANKLINE>
    Source: nobody.
    <BLANKLINE>
    Parameters
    ----------
    seed
        0 &lt;= seed &lt; 2^64.
    <BLANKLINE>
    Raises
    ------
    TypeError
        not an integer.
    ValueError
        too large.
    """
    text = inspect.cleandoc(text)
    prose, sections, examples = [], {}, []
    heading = None
    text = re.sub(r"\n(?=>>> )", "\n\n", text)  # a doctest may follow its sentence at once
    text = re.sub(r"(?m)^((?:>>>|\.\.\.) .*)\n\n(?=(?:>>>|\.\.\.) )", r"\1\n", text)
    blocks = re.split(r"\n{2,}", text)
    for block in blocks:
        match = _HEADING.match(block)
        if match and match[1] in _SECTIONS:
            heading, block = match[1], block[match.end() :]
            sections[heading] = block
        elif block.startswith((">>> ", "... ")):
            examples.append(block)
        elif examples and not block.startswith("Source"):
            examples.append(block)  # what is printed after a blank line, and sentences between examples
        else:
            prose.append(_prose(block))
    out = ["\n\n".join(prose)]
    if "Parameters" in sections:
        out.append("Parameters\n----------\n" + _parameters(sections["Parameters"], annotations or {}))
    if "Returns" in sections:
        out.append("Returns\n-------\n" + _results(sections["Returns"], result))
    if "Raises" in sections:
        out.append("Raises\n------\n" + _errors(sections["Raises"]))
    if examples:
        out.append("Examples\n--------\n" + "\n\n".join(examples))
    return "\n\n".join(out)


class OneLineDocstrings(griffe.Extension):
    """Rewrite every docstring once all of the package is known, when inherited constructors are."""

    def on_package(self, *, pkg, loader, **kwargs):
        if "stream" in pkg.members:
            self._compiled(pkg["stream"])
        self._returned(pkg)
        self._visit(pkg)

    def _returned(self, pkg):
        """Give what public functions return, but nobody makes, a name that does not depend on where it lives."""

        def classes(module):
            for member in module.members.values():
                if not member.is_alias and member.is_module:
                    yield from classes(member)
                elif not member.is_alias and member.is_class and member.name in _RETURNED:
                    yield member

        for found in list(classes(pkg)):
            if found.name not in pkg.members:
                pkg.set_member(found.name, griffe.Alias(found.name, found))

    def _compiled(self, module):
        """The stub of an extension has signatures alone; the extension has the docstrings."""
        extension = importlib.import_module(module.path)
        for name in module.exports or ():
            text = inspect.getdoc(getattr(extension, str(name)))
            if text and str(name) in module.members:
                module[str(name)].docstring = griffe.Docstring(text, parent=module[str(name)])

    def _visit(self, obj):
        for member in obj.members.values():
            if not member.is_alias:
                self._visit(member)
        if obj.docstring is None:
            return
        annotations, result = {}, None
        if obj.is_function or obj.is_class:
            annotations = {parameter.name: parameter.annotation for parameter in obj.parameters}
        if obj.is_function and obj.returns is not None:
            result = str(obj.returns)
        obj.docstring.value = rewritten(obj.docstring.value, annotations, result)


# ---- MkDocs


def on_page_markdown(markdown, **kwargs):
    """Put the help of a command where a page says `<!-- help: winit init -->`."""

    def answer(match):
        command = [sys.executable, "-m", *match[1].split(), "--help"]
        environment = {**os.environ, "COLUMNS": "88"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return f"```text\n{done.stdout.strip()}\n```"

    return re.sub(r"<!-- help: (winit[\w ]*) -->", answer, markdown)
