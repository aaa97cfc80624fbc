"""What gives a command line its shapes besides plans and recipes: a model's config.json, and the headers of files."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest

import winit
from winit import Param, Plan
from winit.cli import main
from winit.cli.configs import is_config


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run main in this process, in a directory of its own: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()  # what the test itself has printed
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def refused(result, match):
    status, out, err = result
    assert (status, out) == (2, ""), result
    assert re.fullmatch(r"winit: error: [^\n]+\n", err) and err[:-1].isprintable(), err
    assert re.search(match, err), err


# ---- a model's config.json

CONFIGS = ["gpt2", "llama", "bert", "t5", "mixtral", "whisper", "clip", "qwen3"]


def saved_config(name, folder, **more):
    """Write a small config of an architecture as transformers does; returns its class and itself."""
    models = pytest.importorskip("torch_models")
    transformers = pytest.importorskip("transformers")
    kind, given = models.TRANSFORMERS[name]
    made = getattr(transformers, kind)
    config = made.config_class(**given, architectures=[kind], **more)
    folder.mkdir(exist_ok=True)
    config.save_pretrained(folder)
    return made, config


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_the_plan_of_its_model(run, tmp_path, name, dtype):
    """Names, shapes, dtypes, ties and bits against the model that transformers makes and winit.torch.build fills."""
    folder = tmp_path / "model"
    made, config = saved_config(name, folder, dtype=dtype)
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    import winit.torch

    before = torch.get_default_dtype()
    status, _, err = run("init", "./model", "-o", "model/model.safetensors", "--seed", 7)
    assert (status, err) == (0, "") and torch.get_default_dtype() is before
    assert run("verify", "model/model.safetensors", "model/config.json", "--seed", 7)[0] == 0

    built = winit.torch.build(lambda: made._from_config(config), seed=7).state_dict()
    assert " literal(" not in run("show", "./model")[1] or name == "whisper"  # its sinusoids alone are no law
    stored = load_file(folder / "model.safetensors")
    storages = {}
    for key, tensor in built.items():
        storages.setdefault(tensor.untyped_storage().data_ptr(), []).append(key)
    for names in storages.values():  # of tied names one is stored
        (held,) = [key for key in names if key in stored] or [None]
        assert stored[held].dtype == built[held].dtype
        assert torch.equal(stored[held], built[held]), names
    assert set(stored) <= set(built)

    loaded, said = made.from_pretrained(folder, output_loading_info=True)
    assert not any(said[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")), said
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, built[key]), key


def test_the_dtype_of_a_config(run, tmp_path):
    saved_config("gpt2", tmp_path / "a", dtype="float16")
    path = tmp_path / "a" / "config.json"
    assert " float16 " in run("show", path)[1]
    assert " bfloat16 " in run("show", path, "--dtype", "bfloat16")[1]
    assert " float8_e5m2 " in run("show", path, "--dtype", "float8_e5m2")[1]
    config = json.loads(path.read_text())
    for key, value, shown in (("torch_dtype", "bfloat16", "bfloat16"), ("dtype", None, "float32")):
        config.pop("dtype", None)
        path.write_text(json.dumps(config | {key: value}))
        assert f" {shown} " in run("show", path)[1]
    path.write_text(json.dumps(config | {"torch_dtype": "int8"}))
    refused(
        run("show", path), r"config\.json: 'torch_dtype' must be one of float32, .*, not 'int8'; --dtype says another"
    )


def test_a_config_is_copied_into_a_folder(run, tmp_path):
    made, _ = saved_config("llama", tmp_path / "m")
    assert run("init", "./m", "-o", "new/", "--seed", 1)[0] == 0
    assert (tmp_path / "new" / "config.json").read_bytes() == (tmp_path / "m" / "config.json").read_bytes()
    assert not made.from_pretrained(tmp_path / "new", output_loading_info=True)[1]["missing_keys"]
    assert run("init", "m/config.json", "-o", "./m", "--seed", 1)[0] == 0  # where it is already
    assert run("verify", "m", "./m", "--seed", 1)[0] == 0
    (tmp_path / "new" / "config.json").write_text("{}")
    refused(run("init", "./m", "-o", "new/", "--seed", 1), r"new/.*exists already")


GPT2 = {"architectures": ["GPT2Model"], "model_type": "gpt2", "vocab_size": 30, "n_embd": 8, "n_layer": 1, "n_head": 2}
REFUSED = {
    "no architectures": ({"model_type": "gpt2"}, r"x\.json: has no 'architectures', which names the model's class"),
    "architectures of none": ({"architectures": []}, r"has the 'architectures' \[\]"),
    "no list": ({"architectures": "GPT2Model"}, r"has the 'architectures' 'GPT2Model'"),
    "unknown": (
        {"architectures": ["GPT2Modle"]},
        r"names 'GPT2Modle', which is no model .* \(did you mean 'GPT2Model'",
    ),
    "no model": ({"architectures": ["GPT2Config"]}, r"names 'GPT2Config', which is no model of transformers"),
    "no name": ({"architectures": ["__version__"]}, r"names '__version__', which is no model of transformers"),
    "a base": ({"architectures": ["PreTrainedModel"]}, r"names 'PreTrainedModel', which is no model of transformers"),
    "code that comes with it": (
        {"architectures": ["OwnModel"], "auto_map": {"AutoModel": "own.OwnModel"}},
        r"'architectures' names 'OwnModel', .*; the code that its 'auto_map' names is never run$",
    ),
    "another type": (
        GPT2 | {"model_type": "bert"},
        r"'model_type' is 'bert', and 'architectures' GPT2Model, whose own",
    ),
    "no type": (
        GPT2 | {"model_type": "own"},
        r"'model_type' is 'own', and 'architectures' GPT2Model, whose own is 'gpt2'",
    ),
    "quantised": (GPT2 | {"quantization_config": {"quant_method": "fp8"}}, r"has a 'quantization_config'"),
    "sizes": (GPT2 | {"n_head": 3}, r"x\.json: GPT2Model refuses it \(ValueError\): "),
    "kinds": (GPT2 | {"n_embd": "many"}, r"x\.json: GPT2Model refuses it "),
    "an index": (
        {"weight_map": {"w": "a.safetensors"}},
        r"is an index of safetensors files, .*: --like x\.json takes it",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_configs_that_are_refused(run, tmp_path, name):
    pytest.importorskip("transformers")
    config, match = REFUSED[name]
    (tmp_path / "x.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('run')")
    refused(run("show", "x.json"), match)
    refused(run("init", "x.json", "-o", "m.safetensors", "--seed", 0), match)
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[1]", r"x\.json: is not a JSON object \(is not an object\)"),
        ('{"architectures": [', r"x\.json: is not a JSON object"),
        ('{"a": 1, "a": 2}', r"x\.json: is not a JSON object \(has 'a' twice\)"),
        ("[" * 100_000, r"x\.json: is not a JSON object"),
        ("\0", r"x\.json: is not a JSON object"),
    ],
)
def test_files_that_are_no_config(run, tmp_path, text, match):
    (tmp_path / "x.json").write_text(text)
    refused(run("show", "x.json"), match)


def test_paths_of_configs(run, tmp_path):
    refused(run("show", "absent.json"), r"absent\.json: No such file or directory")
    (tmp_path / "empty").mkdir()
    refused(run("show", "./empty"), r"empty: Is a directory, where .* a folder with a config\.json is wanted")
    assert not is_config("") and not is_config("plan.toml") and not is_config("\0") and not is_config("./empty")
    saved_config("gpt2", tmp_path / "m")
    refused(
        run("show", "./m", "--set", "layers=3"), r"--set layers=3: \./m is a model's config, whose values are set in"
    )
    before = (tmp_path / "m" / "config.json").read_bytes()
    for spec in ("./m", "m/config.json"):
        refused(run("init", spec, "-o", "m/config.json", "--seed", 0, "--overwrite"), r"-o m/config\.json is the plan")
    assert (tmp_path / "m" / "config.json").read_bytes() == before


def test_a_config_brings_no_code_and_no_network(run, tmp_path, monkeypatch):
    """Its code is not run, its kernels are not fetched, and a backbone with trained weights is not, either."""
    transformers = pytest.importorskip("transformers")
    saved_config("llama", tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    plain = run("show", path)
    tried = []
    monkeypatch.setattr(socket.socket, "connect", lambda *given: tried.append(given))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: tried.append(given))
    for name in ("modeling_own", "configuration_own"):
        (tmp_path / "m" / f"{name}.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    config = json.loads(path.read_text()) | {
        "auto_map": {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.Own"},
        **dict.fromkeys(("attn_implementation", "_attn_implementation"), "somebody/kernel"),
        **dict.fromkeys(("experts_implementation", "_experts_implementation_internal"), "somebody/kernel"),
    }
    path.write_text(json.dumps(config))
    assert run("show", path) == plain
    fetching = {
        "architectures": ["DetrForObjectDetection"], "model_type": "detr", "use_pretrained_backbone": True,
        "backbone": "somebody/backbone", "use_timm_backbone": False, "backbone_config": None,
    }  # fmt: skip
    path.write_text(json.dumps(fetching))
    status, _, err = run("show", path)
    assert status in (0, 2) and err.count("\n") == (status == 2)
    assert not tried and not (tmp_path / "ran").exists()
    assert transformers.logging.get_verbosity() < transformers.logging.CRITICAL


def test_infinities_in_a_config(run, tmp_path):
    pytest.importorskip("transformers")
    config = {"architectures": ["Mamba2Model"], "model_type": "mamba2", "num_heads": 4, "head_dim": 4, "hidden_size": 8}
    config |= {"vocab_size": 30, "num_hidden_layers": 1, "n_groups": 1, "state_size": 4}
    shown = set()
    for limit in ("[0.0, Infinity]", '[0.0, {"__float__": "Infinity"}]'):
        (tmp_path / "x.json").write_text(json.dumps(config)[:-1] + f', "time_step_limit": {limit}}}')
        status, out, err = run("show", "x.json")
        assert (status, err) == (0, "")
        shown.add(out)
    assert len(shown) == 1


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_a_config_without_torch(tmp_path, missing):
    (tmp_path / "config.json").write_text(json.dumps(GPT2))
    code = f"import sys; sys.modules[{missing!r}] = None; from winit.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "show", str(tmp_path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"winit: error: a config\.json as SPEC needs torch and transformers \(.*\): "
        r"pip install 'winit\[torch\]' transformers\n",
        done.stderr,
    )


def test_recipes_import_no_torch():
    code = "import sys; from winit.cli import main; main(['show', 'gpt2'])\n"
    code += "print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# ---- --like

RULES = """
[[rules]]
match = "*.bias"
scheme = "zeros()"
optional = true
[[rules]]
match = "*.scale"
scheme = "ones()"
optional = true
[[rules]]
match = "fc.*"
scheme = "he_normal()"
layout = "io"
optional = true
[[rules]]
match = "*.embed"
scheme = "normal(std=std)"
optional = true
[[rules]]
match = "steps"
scheme = "constant(3)"
optional = true
[parameters]
std = 0.5
"""
MODEL = Plan(
    {
        "fc.0.weight": Param((30, 20), winit.normal(), "float16"),
        "fc.1.weight": Param((30, 30), winit.normal(), "bfloat16"),
        "fc.0.bias": Param((30,), winit.normal(), "float32"),
        "steps": Param((), winit.constant(0), "int64"),
        "tok.embed": Param((40, 20), winit.normal(), "float64"),
        "head": Param(tied="tok.embed"),
    }
)


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    return "rules.toml"


def test_like_takes_names_shapes_and_dtypes_and_rules_give_laws(run, rules, tmp_path):
    MODEL.write(tmp_path / "m.safetensors", seed=1)
    expected = Plan.from_shapes(
        {name: _Shaped(MODEL[name]) for name in sorted(MODEL.stored, key=_width)},
        [
            ("*.bias", winit.zeros()),
            ("fc.*", winit.he_normal(), "io"),
            ("*.embed", winit.normal(std=0.5)),
            ("steps", winit.constant(3)),
        ],
    )
    status, _, err = run("init", rules, "--like", "m.safetensors", "-o", "new.safetensors", "--seed", 9)
    assert (status, err) == (0, "")
    expected = Plan({**expected, "head": Param(tied="tok.embed")})
    assert winit.checkpoint.verify("new.safetensors", expected, seed=9).ok
    assert run("verify", "new.safetensors", rules, "--like", "m.safetensors", "--seed", 9)[0] == 0
    assert run("verify", "new.safetensors", rules, "--like", "new.safetensors", "--seed", 9)[0] == 0
    assert run("verify", "new.safetensors", rules, "--like", "m.safetensors", "--seed", 9, "--set", "std=0.25")[0] == 1
    shown = run("show", rules, "--like", "m.safetensors", "--all")[1]
    assert f"digest: {expected.digest}" in shown and re.search(r"head .* tied to tok\.embed", shown)
    half = run("show", rules, "--like", "m.safetensors", "--dtype", "float16", "--all")[1]
    assert half.count("float16") == 5 and half.count("int64") == 1


def _width(name):
    return -MODEL[name].itemsize


class _Shaped:
    def __init__(self, param):
        self.shape, self.dtype = param.shape, param.dtype


def test_like_takes_npz_folders_and_indexes(run, rules, tmp_path):
    arrays = {"fc.0.weight": np.zeros((3, 4), np.float32), "fc.0.bias": np.zeros(3, np.float64)}
    np.savez(tmp_path / "m.npz", **arrays)
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, name in enumerate(arrays):
        Plan({name: Param(arrays[name].shape, winit.ones(), arrays[name].dtype)}).write(
            folder / f"{i}.safetensors", seed=0
        )
    places = {name: f"{i}.safetensors" for i, name in enumerate(arrays)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    shown = {
        run("show", rules, "--like", path)[1] for path in ("m.npz", folder, folder / "model.safetensors.index.json")
    }
    assert len(shown) == 1
    assert re.search(r"fc\.0\.bias +3 +float64 +oi +zeros\(\)", shown.pop())


def raw(path, entries, metadata=None):
    """A safetensors file of zeros by its format: name -> (code, shape, bytes)."""
    header, end = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, (code, shape, nbytes) in entries.items():
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [end, end + nbytes]}
        end += nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def test_like_reads_ties_from_metadata(run, rules, tmp_path):
    raw(tmp_path / "m.safetensors", {"tok.embed": ("F32", [4, 2], 32)}, {"format": "pt", "head": "tok.embed", "x": "y"})
    assert re.search(r"\nhead +4x2 .* tied to tok\.embed", run("show", rules, "--like", "m.safetensors")[1])


def test_like_of_a_recipe(run, tmp_path):
    sizes = {"layers": 3, "dim": 16, "vocab": 50, "positions": 10}
    given = [piece for name, value in sizes.items() for piece in ("--set", f"{name}={value}")]
    winit.recipes.gpt2(**sizes).with_dtype("bfloat16").write(tmp_path / "g.safetensors", seed=0)
    assert run("verify", "g.safetensors", "gpt2", "--like", "g.safetensors", "--seed", 0, *given)[0] == 0
    # c_proj's std is computed from layers, so the sizes must be the file's, all of them.
    for wrong in (given[2:], given[:-2], [*given[2:], "--set", "layers=4"], [*given[2:], "--set", "layers=2"]):
        refused(
            run("show", "gpt2", "--like", "g.safetensors", *wrong),
            r"transformer\.h\.0\.attn\.c_proj\.weight: its law in gpt2 is computed from layers, and g\.safetensors is "
            r"of other sizes: (transformer\.wte\.weight is \(50, 16\), in gpt2|it has no|gpt2 has no|transformer\.wpe)",
        )
    # No law of Llama's is: the file's layers and shapes are taken as they are.
    llama = winit.recipes.llama(layers=2, dim=16, heads=2, inner=24, vocab=40)
    llama.write(tmp_path / "l.safetensors", seed=4)
    for more in ([], ["--set", "layers=40"], ["--set", "layers=1"]):
        assert run("verify", "l.safetensors", "llama", "--like", "l.safetensors", "--seed", 4, *more)[0] == 0
    refused(
        run("show", "llama", "--like", "g.safetensors", *given[:2]),
        r"transformer\.wte\.weight: llama has no tensor of this name",
    )


def test_like_with_laws_that_differ_by_layer(run, tmp_path):
    (tmp_path / "p.toml").write_text(
        '[tensors]\n"h.{i=0..1}.w" = { shape = [4, 4], scheme = "normal(std=1 / (i + 1))" }\n'
        '"k.{0..1}.w" = { shape = [4, 4], scheme = "normal()" }\n'
    )
    raw(tmp_path / "two.safetensors", {f"{name}.{i}.w": ("F16", [4, 4], 32) for name in "hk" for i in (0, 1)})
    raw(tmp_path / "three.safetensors", {f"h.{i}.w": ("F16", [4, 4], 32) for i in (0, 1, 2)})
    raw(tmp_path / "many.safetensors", {f"k.{i}.w": ("F16", [2, 9], 36) for i in range(5)})
    raw(tmp_path / "wide.safetensors", {"h.0.w": ("F16", [2, 9], 36), "h.1.w": ("F16", [4, 4], 32)})
    shown = run("show", "p.toml", "--like", "two.safetensors", "--all")[1]
    assert re.search(r"h\.1\.w +4x4 +float16 +normal\(std=0\.5\)", shown)
    refused(
        run("show", "p.toml", "--like", "three.safetensors"),
        r"h\.2\.w: p\.toml has no tensor of this name, and those .* several",
    )
    assert re.search(r"k\.\{0\.\.4\}\.w +x5 +2x9", run("show", "p.toml", "--like", "many.safetensors")[1])
    refused(
        run("show", "p.toml", "--like", "wide.safetensors"),
        r"h\.0\.w: its law in p\.toml is computed from i, and wide\.safetensors",
    )


def test_like_of_a_config(run, tmp_path):
    saved_config("gpt2", tmp_path / "m")
    assert run("init", "m/", "-o", "g.safetensors", "--seed", 2)[0] == 0
    assert run("verify", "g.safetensors", "m/", "--like", "g.safetensors", "--seed", 2)[0] == 0
    raw(tmp_path / "h.safetensors", {"transformer.ln_f.weight": ("F16", [8], 16)})
    refused(
        run("show", "m/", "--like", "h.safetensors"),
        r"transformer\.ln_f\.weight: its law in m/ is computed from the config's",
    )


LIKE_ERRORS = {
    "no law": (
        {"toks.embedd": ("F32", [1], 4)},
        [],
        r"toks\.embedd: rules\.toml has neither a rule nor .*nearest (is|are) '",
    ),
    "F4": ({"fc.w": ("F4", [2, 2], 2)}, [], r"m\.safetensors: 'fc\.w' is F4, which no plan holds"),
    "F8_E8M0": (
        {"fc.w": ("F8_E8M0", [2, 2], 4)},
        ["--dtype", "float32"],
        r"m\.safetensors: 'fc\.w' is F8_E8M0, which no plan holds",
    ),
    "integers": ({"tok.embed": ("I8", [4], 4)}, [], r"tok\.embed: .*int8"),
    "no parameter": ({"fc.w": ("F32", [1, 1], 4)}, ["--set", "n=1"], r"unknown parameter 'n'"),
}


@pytest.mark.parametrize("name", LIKE_ERRORS)
def test_like_errors(run, rules, tmp_path, name):
    entries, more, match = LIKE_ERRORS[name]
    raw(tmp_path / "m.safetensors", entries)
    refused(run("init", rules, "--like", "m.safetensors", "-o", "new.safetensors", "--seed", 0, *more), match)
    assert not (tmp_path / "new.safetensors").exists()


def test_like_paths(run, rules, tmp_path):
    for path in ("", "-"):
        refused(run("show", rules, "--like", path), r"--like must name a file or a folder, not ")
    refused(run("show", rules, "--like", "absent.safetensors"), r"absent\.safetensors: No such file")
    refused(run("show", rules, "--like", rules), r"rules\.toml is not a safetensors file")
    refused(run("show", rules, "--like", "\0"), r"null character")
    (tmp_path / "m.bin").write_bytes(b"\x80\x02}q\x00.")
    refused(run("show", rules, "--like", "m.bin"), r"m\.bin is a pickle; pickles are never read")
    refused(run("show", "gtp2", "--like", "absent.safetensors"), r"no recipe is called 'gtp2'")
    refused(run("recipes", "--like", "m.bin"), r"unrecognized arguments: --like")
    raw(tmp_path / "m.safetensors", {"fc.w": ("F32", [1, 1], 4)})
    before = (tmp_path / "m.safetensors").read_bytes()
    refused(
        run("init", rules, "--like", "m.safetensors", "-o", "m.safetensors", "--seed", 0, "--overwrite"),
        r"-o m\.safetensors is the plan itself, or",
    )
    assert (tmp_path / "m.safetensors").read_bytes() == before
    (tmp_path / "strict.toml").write_text(
        '[[rules]]\nmatch = "zz*"\nscheme = "ones()"\n[[rules]]\nmatch = "*"\nscheme = "ones()"\n'
    )
    refused(
        run("show", "strict.toml", "--like", "m.safetensors"), r"strict\.toml: the pattern 'zz\*' matches no name; "
    )
    (tmp_path / "index.toml").write_text('[[rules]]\nmatch = "*"\nscheme = "normal(std=i)"\n')
    refused(run("show", "index.toml", "--like", "m.safetensors"), r"index\.toml: .*'?i'?")
