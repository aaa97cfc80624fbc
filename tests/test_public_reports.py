"""Public reports of bugs in other libraries whose kind could be here, too, and what winit does in their place.

Each test gives the address of its report, what went wrong there, and where the like could go wrong here. docs/trust.md
has the table of them.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import stat
import struct
import sys
import threading
import zipfile

import numpy as np
import pytest

import winit
from winit import Axes, Param, Plan, methods
from winit.cli import main

ml_dtypes = pytest.importorskip("ml_dtypes")
NARROW = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def written(path, tensors, metadata=None):
    """A safetensors file of float32 arrays, by hand: a library would refuse some of them."""
    header, end = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in tensors.values()))
    return path


def values(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# ---- initialisers


@pytest.mark.parametrize(
    ("shape", "layout"), [((5, 0), "oi"), ((0, 5), "io"), ((5, 0, 3, 3), "oi"), ((3, 5, 0), Axes(2, 1))], ids=str
)
def test_a_layer_without_inputs(shape, layout, tmp_path):
    """https://github.com/pytorch/pytorch/issues/48152

    Linear(0, k), which is its bias alone, divided by its fan of 0.

    A tensor with a fan of 0 has no elements. But the bias of methods.biases has, whose law is of the weight's fan:
    torch gives it 0.
    """
    weight = Param(shape, winit.he_uniform(math.sqrt(5)), layout=layout)
    plan = methods.biases(Plan({"fc.weight": weight, "fc.bias": Param((5,), winit.ones())}), "torch")
    assert plan["fc.bias"].scheme == winit.zeros()
    built = plan.build(seed=0)
    assert built["fc.weight"].shape == shape and not built["fc.bias"].any()
    plan.write(tmp_path / "m", seed=0)
    assert winit.checkpoint.verify(tmp_path / "m", plan, seed=0).ok
    for scheme in (winit.xavier_normal(), winit.lecun_uniform(), winit.orthogonal(), winit.small_init(), winit.siren()):
        drawn = winit.draw(scheme, shape, seed=0, layout=layout)
        assert drawn.shape == shape and math.isfinite(scheme.moments(shape, layout).std)


def test_a_transposed_convolution_by_any_name_of_its_axes():
    """https://github.com/tensorflow/tensorflow/issues/31192

    A fan was read at a fixed axis, where Conv2DTranspose has the other channels.

    winit.Axes may count axes from either end, and methods.biases must know a transposed convolution by any of its
    names.
    """
    shape = (8, 3, 5, 5)  # in, out, space
    spellings = [Axes(0, 1), Axes(-4, -3), Axes(0, -3), Axes(-4, 1)]
    for layout in spellings:
        assert winit.fans(shape, layout) == (8 * 25, 3 * 25)
        weight = Param(shape, winit.he_normal(), layout=layout)
        plan = Plan({"up.weight": weight, "up.bias": Param((3,), winit.zeros())})
        bound = 1 / math.sqrt(3 * 25)  # torch's, which takes axis 1 for the inputs
        assert methods.biases(plan, "torch")["up.bias"].scheme == winit.uniform(-bound, bound)
    for scheme in (winit.xavier_uniform(), winit.he_normal(mode="fan_out"), winit.orthogonal(), winit.sparse(3)):
        first, *others = [winit.draw(scheme, shape, seed=0, layout=layout) for layout in spellings]
        assert all((other == first).all() for other in others)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_narrow_truncated_normal_does_not_gather_at_its_cut(build, dtype):
    """https://github.com/pytorch/torchtitan/issues/2269

    trunc_normal_(std=0.02, a=-2, b=2) in bfloat16 gave -2, 100 standard deviations out, to 4 in 1,000 elements: the
    uniform number was rounded before it was inverted.
    """
    scheme, n = winit.presets.torch.trunc_normal_(std=0.02, a=-2.0, b=2.0), 20_000
    exact = winit.draw(scheme, n, seed=0, name="w")
    drawn = winit.draw(scheme, n, seed=0, name="w", dtype=dtype)
    assert (drawn == exact.astype(drawn.dtype)).all()
    wide = drawn.astype(np.float64)
    assert np.abs(wide).max() < 6.77 * 0.02 * 1.07  # float8_e5m2 rounds by a sixteenth
    # A correct sampler fails with a chance below 1e-8: 6 standard errors, and what rounding adds to the second.
    assert abs(wide.mean()) < 6 * 0.02 / math.sqrt(n)
    assert abs(wide.std() / 0.02 - 1) < 6 / math.sqrt(2 * n) + 0.01


# ---- files


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_bfloat16_in_npz(tmp_path, save):
    """https://github.com/jax-ml/ml_dtypes/issues/41

    numpy.save writes bfloat16 as two bytes of no kind, and so it is read.

    winit takes them for bfloat16. The dtypes of records and arrays of two bytes print alike, and are something else.
    """
    given = values(7, 3).astype(ml_dtypes.bfloat16)
    path, plan = tmp_path / "w.npz", Plan({"w": Param((7, 3), winit.zeros(), "bfloat16")})
    for array in (given, np.asfortranarray(given)):
        save(path, w=array)
        assert (winit.pretrained(path, plan, seed=0).build()["w"] == given).all()
    for fields in ([("a", "u1"), ("b", "u1")], [("a", "<u2")], [("a", "u1", (2,))]):
        save(path, w=np.zeros((7, 3), np.dtype(fields)))
        with pytest.raises(ValueError, match="has dtype void16, expected bfloat16"):
            winit.pretrained(path, plan, seed=0)
    save(path, w=given.astype(ml_dtypes.float8_e5m2))
    with pytest.raises(ValueError, match="w.npz"):  # which of the float8 it is, nobody can tell
        winit.pretrained(path, plan.with_dtype("float8_e5m2"), seed=0)


def test_a_name_given_twice(tmp_path, capsys):
    """https://github.com/safetensors/safetensors/issues/401

    Of a key twice in a header, the error spoke of offsets.

    Python's own json takes the last of two, in the index of shards as well, and so another shard than other readers
    may.
    """
    entry = '"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f"{{{entry},{entry}}}".encode()
    (tmp_path / "twice").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    plan = Plan({"w": Param((1,), winit.zeros())})
    with pytest.raises(ValueError, match="twice is not a safetensors file: its header has 'w' twice"):
        winit.pretrained(tmp_path / "twice", plan, seed=0)

    for shard in "ab":
        written(tmp_path / f"{shard}.safetensors", {"w": values(1)})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}')
    message = "index.json is not an index of safetensors files: it has 'w' twice"
    for path in (index, tmp_path):
        with pytest.raises(ValueError, match=message):
            winit.pretrained(path, plan, seed=0, strict=False)
        with pytest.raises(ValueError, match=message):
            winit.checkpoint.verify(path, plan, seed=0)
    (tmp_path / "plan.toml").write_text('[tensors]\nw = { shape = [1], scheme = "zeros()" }\n')
    assert main(["verify", str(index), str(tmp_path / "plan.toml"), "--seed", "0"]) == 2
    assert message in capsys.readouterr().err

    member = io.BytesIO()
    np.lib.format.write_array(member, values(1))
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", member.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("w.npy", member.getvalue())
    with pytest.raises(ValueError, match="it has 'w' twice"):
        winit.pretrained(tmp_path / "w.npz", plan, seed=0)


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("ties", [(), ("head", "embed"), ("embed", "head")], ids=str)
def test_tied_tensors_that_are_written_once(tmp_path, shards, ties):
    """https://github.com/keras-team/keras-hub/issues/3075

    A name that the metadata lead to another tensor was not found.

    A file says such names in its own metadata, and huggingface_hub those of shards in the metadata of the index. What
    is not found is drawn instead where strict=False.
    """
    embed, norm, metadata = values(8, 4), values(4), {"head": "embed"}
    if shards:
        written(tmp_path / "1.safetensors", {"norm": norm}, {"format": "pt"})
        written(tmp_path / "2.safetensors", {"embed": embed}, {"format": "pt"})
        index = {
            "metadata": {"total_size": 144, "format": "pt", "other": "nothing", **metadata},
            "weight_map": {"norm": "1.safetensors", "embed": "2.safetensors"},
        }
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        written(tmp_path / "model.safetensors", {"norm": norm, "embed": embed}, {"format": "pt", **metadata})
    params = {name: Param((8, 4), winit.normal()) for name in ("head", "embed")}
    if ties:
        params[ties[0]] = Param(tied=ties[1])
    plan = Plan({**params, "norm": Param((4,), winit.ones())})
    for strict in (True, False):
        loaded = winit.pretrained(tmp_path, plan, seed=0, strict=strict)
        assert (loaded.report.drawn, loaded.report.left_over) == ((), ())
        built = loaded.build()
        assert all((built[name] == embed).all() for name in ("head", "embed")) and (built["norm"] == norm).all()


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_permissions_of_what_is_written(tmp_path):
    """https://github.com/safetensors/safetensors/issues/782

    Files written under another name first were readable by their owner alone, whatever the umask and the file that they
    replaced.

    The other way round, a private file that is replaced must not become one that the umask lets all read.
    """
    plan, path = Plan({"w": Param((100, 100), winit.normal())}), tmp_path / "m.safetensors"
    (tmp_path / "plan.toml").write_text('[tensors]\nw = { shape = [100, 100], scheme = "normal()" }\n')
    modes = []

    def look(done, total):
        modes.extend(stat.S_IMODE(found.stat().st_mode) for found in tmp_path.glob(".m.safetensors.*.winit"))

    plan.write(path, seed=0, progress=look)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and set(modes) == {0o640}
    for mode in (0o600, 0o664, 0o444, 0o640):
        path.chmod(mode)
        modes.clear()
        plan.write(path, seed=0, overwrite=True, progress=look)
        assert stat.S_IMODE(path.stat().st_mode) == mode and set(modes) == {mode | 0o600}
        winit.pretrained(path, plan, seed=0).write(path, overwrite=True)
        command = ["init", str(tmp_path / "plan.toml"), "-o", str(path), "--seed", "0", "--overwrite", "--quiet"]
        assert main(command) == 0
        assert stat.S_IMODE(path.stat().st_mode) == mode
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    path.chmod(0o600)
    plan.write(link, seed=0, overwrite=True)
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o600


# ---- random numbers


def seeds(children):
    return [child.state["state"]["seed"] for child in children]


def test_children_that_threads_spawn_at_once():
    """https://github.com/numpy/numpy/issues/32063

    Threads that spawned from one sequence got the same children.

    It is NumPy's sequence that counts those of a winit.BitGenerator.
    """
    bits, found, began = winit.BitGenerator(0, "w"), [], threading.Barrier(4)
    rng, before = np.random.Generator(bits), sys.getswitchinterval()

    def spawn():
        began.wait()
        for _ in range(150):
            found.extend(seeds(child.bit_generator for child in rng.spawn(1)))

    threads = [threading.Thread(target=spawn) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert sorted(found) == sorted(seeds(winit.BitGenerator(0, "w").spawn(600))) and len(set(found)) == 600


def test_children_after_the_state_is_set():
    """https://github.com/numpy/numpy/issues/27882

    A generator whose state is set spawns the children of what it was before.

    Here a state says which stream it is of, and so whose children are to come. How many have come is no part of it.
    """
    saved = winit.BitGenerator(5, "x")
    saved.random_raw(3)
    expected = seeds(winit.BitGenerator(5, "x").spawn(2))
    for other in (winit.BitGenerator(0), winit.BitGenerator(0, "w"), winit.BitGenerator(np.random.SeedSequence(1))):
        other.spawn(1)
        other.state = saved.state
        assert seeds(other.spawn(2)) == expected
        again = pickle.loads(pickle.dumps(other))
        assert seeds(again.spawn(1)) == seeds(winit.BitGenerator(5, "x").spawn(3)[2:])
    sequence = np.random.SeedSequence(1)
    same = winit.BitGenerator(sequence)
    same.state = same.advance(10).state  # elsewhere in its own stream: the sequence that it was made of goes on
    assert same.seed_seq is sequence


def test_children_are_nobody_elses():
    """https://github.com/numpy/numpy/issues/16539

    The first child of a sequence was the sequence itself.

    Here generators may be of one sequence and several names: independent streams, whose children must be, too.
    """
    names = ("", "a", "b", "a\0")
    parents = [winit.BitGenerator(np.random.SeedSequence(42), name) for name in names]
    parents += [winit.BitGenerator(42, name) for name in names]
    children = [child for parent in parents for child in parent.spawn(3)]
    grandchildren = [grandchild for child in children for grandchild in child.spawn(2)]
    every = [*parents, *children, *grandchildren]
    assert len({int(each.random_raw()) for each in every}) == len(every)
    # By the sequence itself, too, which is how other libraries spawn.
    own = [each.seed_seq.spawn(1)[0] for each in parents]
    assert len({tuple(each.generate_state(4).tolist()) for each in own}) == len(own)
