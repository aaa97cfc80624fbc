"""Arguments that several commands take, and the kinds of their values."""

from __future__ import annotations

import argparse
import re

from winit._core.checks import shown

__all__ = ["add_plan", "add_quiet", "add_seed", "add_threads", "count", "rank", "seed"]

# Digits of the plainest kind; int() would take those of every script, and complain of 5000 in words of its own.
_INTEGER = re.compile(r"0*([0-9]{1,20}|[0-9]{1,3}(_[0-9]{3}){1,6})")


_SPEC = (
    "the plan: a TOML file, the name of a recipe, or a Hugging Face model's config.json or its folder (a file without "
    "a dot in its name is written ./FILE)"
)


def add_plan(parser: argparse.ArgumentParser, optional: bool = False, by_option: bool = False) -> None:
    """Add what names a plan: SPEC, which may be optional, or --plan SPEC, and --like, --set and --dtype."""
    if by_option:
        parser.add_argument("--plan", dest="spec", metavar="SPEC", help=f"report on a plan, or against it. {_SPEC}")
    else:
        parser.add_argument("spec", metavar="SPEC", nargs="?" if optional else None, help=_SPEC)
    parser.add_argument(
        "--like",
        metavar="PATH",
        help="take names, shapes and dtypes from the headers of PATH (a safetensors or npz file, an index, a folder), "
        "and from SPEC the laws alone, which may then be a TOML file of nothing but rules",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the plan instead of its default, VALUE as in TOML: layers=24, tied=false, "
        "'depths=[3, 3, 27, 3]' (repeatable; winit recipes NAME lists those of a recipe)",
    )
    parser.add_argument("--dtype", metavar="D", help="store the floating-point tensors as D instead")


def add_seed(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """Add --seed, which must be given unless it is optional."""
    parser.add_argument("--seed", type=seed, required=not optional, metavar="N", help="0 <= N < 2^64")


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads."""
    parser.add_argument("--threads", type=count, metavar="N", help="threads (default: the processors available)")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    return int(match[1]) if match else None


def seed(text: str) -> int:
    """Read --seed."""
    value = _integer(text)
    if value is None or value >= 1 << 64:
        raise argparse.ArgumentTypeError(f"must be an integer in [0, 2^64), not {shown(text, 60)}")
    return value


def rank(text: str) -> int | str:
    """Read --rank: a number, or auto."""
    value = _integer(text)
    if value is None and text != "auto":
        raise argparse.ArgumentTypeError(f"must be an integer from 0 on, or auto, not {shown(text, 60)}")
    return text if value is None else value


def count(text: str) -> int:
    """Read a number of threads or of processes."""
    value = _integer(text)
    if not value:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {shown(text, 60)}")
    return value
