"""A plan from the config.json of a Hugging Face model: transformers' own class is constructed, and nothing is drawn.

Only what transformers itself has is run. Code that comes with a config is not, nothing is fetched from a network, and
what could bring in either is refused or left out.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winit._core.checks import nearest, shown
from winit.cli.failures import FailureError

if TYPE_CHECKING:
    from winit import Plan

__all__ = ["config_plan", "is_config"]

_MAX_CONFIG = 100_000_000  # bytes
_FLOATS = ("float32", "float64", "float16", "bfloat16")  # what torch constructs a model in
# How a layer computes: no tensor depends on it, and a name with a slash would be fetched from a hub.
_COMPUTING = ("attn_implementation", "experts_implementation")
_INSTALL = "pip install 'winit[torch]' transformers"


def is_config(spec: str) -> bool:
    """Tell whether SPEC is a config of a model: a file called *.json, or a folder with a config.json in it."""
    return spec.endswith(".json") or _in_folder(spec) is not None


def _in_folder(spec: str) -> Path | None:
    try:
        path = Path(spec, "config.json")
        return path if spec and path.is_file() else None
    except (OSError, ValueError):
        return None


def config_plan(spec: str, dtype: str | None, seed: int) -> Plan:
    """Make the plan of the model that a config names, in a dtype or that of the config.

    seed : for what the model's constructor draws otherwise than by a law of winit's; see winit.torch.plan.

    Raises
    ------
    FailureError : torch or transformers is not there; the config is no JSON, or names no model that transformers has;
        transformers cannot make the model. OSError : the file cannot be read.

    """
    path = _in_folder(spec) or Path(spec)
    config = _read(path)
    architecture = _check(config, path)
    try:
        with _quiet_and_alone():
            return _plan(config, architecture, path, dtype, seed)
    except FailureError:
        raise
    except Exception as error:  # what other people's constructors raise of values that they do not expect
        said = " ".join(str(error).split()) or "without a message"
        raise FailureError(f"{path}: {architecture} refuses it ({type(error).__name__}): {said[:300]}") from None


def _read(path: Path) -> dict[str, Any]:
    """Read a config as strictly as JSON is defined, but for infinities, which transformers writes."""
    from winit._files.entries import opened
    from winit._files.strict_json import object_of

    with opened(os.fspath(path)) as descriptor:
        size = os.fstat(descriptor).st_size
        if size > _MAX_CONFIG:
            raise FailureError(f"{path}: has {size:,} bytes, and is no config of a model")
        text = os.pread(descriptor, size, 0)
    try:
        return object_of(text, infinities=True)
    except ValueError as error:
        raise FailureError(f"{path}: is not a JSON object ({str(error).splitlines()[0]})") from None


def _check(config: Mapping[str, Any], path: Path) -> str:
    """Return the name of the model's class, or say why there is none."""
    if isinstance(config.get("weight_map"), dict):
        raise FailureError(
            f"{path}: is an index of safetensors files, which has names and no laws: --like {path} takes it, with a "
            "SPEC that has the laws"
        )
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        has = "has no 'architectures'" if named is None else f"has the 'architectures' {shown(named)}"
        raise FailureError(
            f'{path}: {has}, which names the model\'s class, such as ["LlamaForCausalLM"]; without it the tensors '
            "are not known"
        )
    if config.get("quantization_config") is not None:
        raise FailureError(
            f"{path}: has a 'quantization_config', and winit draws no quantised weights; without that key the plan is "
            "of the weights before"
        )
    return named[0]


@contextmanager
def _quiet_and_alone() -> Iterator[None]:
    """Keep transformers from the network and from printing while the block runs."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        import huggingface_hub.constants as hub
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise FailureError(f"a config.json as SPEC needs torch and transformers ({error}): {_INSTALL}") from None
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    offline, verbosity = hub.HF_HUB_OFFLINE, transformers.logging.get_verbosity()
    hub.HF_HUB_OFFLINE = True  # what the environment says was read when it was imported
    transformers.logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub.HF_HUB_OFFLINE = offline
        transformers.logging.set_verbosity(verbosity)


def _plan(config: dict[str, Any], architecture: str, path: Path, dtype: str | None, seed: int) -> Plan:
    import torch

    import winit.torch

    made, kind = _classes(config, architecture, path)
    wanted = _dtype(config, path) if dtype is None else dtype if dtype in _FLOATS else "float32"
    settings = kind.from_dict(_plain(config))
    return winit.torch.plan(lambda: made._from_config(settings, dtype=getattr(torch, wanted)), seed=seed)


def _classes(config: Mapping[str, Any], architecture: str, path: Path) -> tuple[Any, Any]:
    """Find transformers' own classes of a model and of its config."""
    import transformers

    known = [name for name in dir(transformers) if not name.startswith("_")]
    made = getattr(transformers, architecture) if architecture in known else None
    if not (isinstance(made, type) and issubclass(made, transformers.PreTrainedModel) and made.config_class):
        own = "; the code that its 'auto_map' names is never run" if config.get("auto_map") is not None else ""
        near = "" if own else nearest(architecture, (name for name in known if name[0].isupper()))
        raise FailureError(
            f"{path}: 'architectures' names {shown(architecture)}, which is no model of transformers "
            f"{transformers.__version__}{own}{near}"
        )
    model_type, kind = config.get("model_type"), made.config_class
    if model_type is None:
        return made, kind
    found = dict(transformers.CONFIG_MAPPING).get(model_type) if isinstance(model_type, str) else None
    if not (isinstance(found, type) and issubclass(found, kind)):
        takes = f"whose own is {kind.model_type!r}"
        raise FailureError(f"{path}: 'model_type' is {shown(model_type)}, and 'architectures' {architecture}, {takes}")
    return made, found


def _dtype(config: Mapping[str, Any], path: Path) -> str:
    key = "dtype" if config.get("dtype") is not None else "torch_dtype"
    value = config.get(key)
    if value is None:
        return "float32"
    name = value.removeprefix("torch.") if isinstance(value, str) else value
    if name not in _FLOATS:
        raise FailureError(
            f"{path}: {key!r} must be one of {', '.join(_FLOATS)}, not {shown(value)}; --dtype says another"
        )
    return str(name)


def _plain(value: Any) -> Any:
    """Copy a config as its class takes it: infinities are numbers, and nothing says how layers compute."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if list(value) == ["__float__"] and value["__float__"] in ("Infinity", "-Infinity", "NaN"):
        return float(value["__float__"])
    return {
        key: _plain(item) for key, item in value.items() if key.lstrip("_").removesuffix("_internal") not in _COMPUTING
    }
