"""Every rejection: its type, its message, and that nothing was written."""

import decimal
import re
import sys

import numpy as np
import pytest

import winit
from winit import Axes
from winit._core import exact
from winit._core import scheme as scheme_module

NORMAL = winit.normal()


def reject(error, match, out, **keywords):
    """fill and add refuse alike, and out keeps its bytes."""
    before = out.tobytes() if isinstance(out, np.ndarray) else None
    for function in (winit.fill, winit.add):
        with pytest.raises(error, match=match):
            function(out, **{"scheme": NORMAL, "seed": 0, **keywords})
        if before is not None:
            assert out.tobytes() == before


def fresh(*shape, dtype=np.float32):
    return np.full(shape, 7, dtype)


@pytest.mark.parametrize(
    ("seed", "error", "match"),
    [
        (-1, ValueError, r"seed must be in \[0, 2\^64\), not -1"),
        (2**64, ValueError, r"seed must be in \[0, 2\^64\), not 18446744073709551616"),
        (1.0, TypeError, "seed must be an integer, not float"),
        ("1", TypeError, "seed must be an integer, not str"),
        (None, TypeError, "seed must be an integer, not NoneType"),
        (True, TypeError, "seed must be an integer, not bool"),
    ],
)
def test_seed(seed, error, match):
    reject(error, match, fresh(4), seed=seed)
    with pytest.raises(error, match=match):
        winit.draw(NORMAL, 4, seed=seed)
    with pytest.raises(error, match=match):
        winit.words(seed, "", 0, 4)


def test_seed_is_keyword_only_and_needed():
    with pytest.raises(TypeError, match="seed"):
        winit.draw(NORMAL, 4)
    with pytest.raises(TypeError, match="positional"):
        winit.draw(NORMAL, 4, 0)


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        (None, TypeError, "name must be a str, not NoneType"),
        (b"w", TypeError, "name must be a str, not bytes"),
        ("\ud800", ValueError, r"name '\\ud800' cannot be encoded in UTF-8"),
    ],
)
def test_name(name, error, match):
    reject(error, match, fresh(4), name=name)


@pytest.mark.parametrize(
    ("scheme", "match"),
    [
        (winit.normal, r"scheme must be a winit scheme .*did you mean normal\(\)\?"),
        ("normal", "scheme must be a winit scheme such as winit.he_normal"),
        (None, "scheme must be a winit scheme"),
    ],
)
def test_scheme(scheme, match):
    reject(TypeError, match, fresh(4), scheme=scheme)


def test_out():
    frozen = fresh(4)
    frozen.flags.writeable = False
    reject(ValueError, "out must be writeable, and is read-only", frozen)
    accepted = "out must be a NumPy array or an object that speaks DLPack, the buffer protocol or __array_interface__"
    reject(TypeError, f"{accepted}, not list", [0.0])
    reject(TypeError, f"{accepted}, not list", [0.0], shape=(1,))
    reject(ValueError, r"out has shape \(4,\), expected \(2, 2\)", fresh(4), shape=(2, 2))
    reject(ValueError, r"out has shape \(4,\), expected \(2,\)", fresh(4), shape=(9,), box=range(3, 5))
    other = ">f4" if sys.byteorder == "little" else "<f4"
    reject(ValueError, f"out must be in native byte order, not '{other}'", fresh(4, dtype=other))
    reject(ValueError, "a box needs shape=", fresh(4), box=range(0, 4))


@pytest.mark.parametrize(
    ("shape", "strides"), [((3, 4), (4, 4)), ((5,), (0,)), ((5,), (2,)), ((3, 3), (8, 4)), ((4, 4), (12, 8))]
)
def test_out_that_overlaps_itself(shape, strides):
    store = fresh(64)
    view = np.lib.stride_tricks.as_strided(store, shape, strides)
    before = store.tobytes()
    with pytest.raises(ValueError, match="out has elements that share memory"):
        winit.fill(view, NORMAL, seed=0)
    assert store.tobytes() == before


def test_strides_that_interleave_without_overlap_are_fine():
    store = fresh(64)
    view = np.lib.stride_tricks.as_strided(store, (2, 3), (12, 8))  # elements 0 2 4 and 3 5 7
    winit.fill(view, NORMAL, seed=0)
    assert (view == winit.draw(NORMAL, (2, 3), seed=0)).all()
    assert (store[[1, 6, 8]] == 7).all()


def test_an_overlap_is_seen_without_enumerating_it():
    view = np.lib.stride_tricks.as_strided(fresh(64), (1 << 20, 1 << 20), (0, 0))
    with pytest.raises(ValueError, match="share memory"):
        winit.fill(view, NORMAL, seed=0)


def test_layouts_are_checked_whatever_the_scheme():
    for layout, error in (("hwio", ValueError), (3, TypeError), (Axes(5, 9), ValueError), (["oi"], TypeError)):
        for scheme, dtype in ((NORMAL, "float32"), (winit.ones(), "float64")):
            with pytest.raises(error, match="layout must be|axis 5 is outside"):
                winit.draw(scheme, (3, 4), seed=0, layout=layout, dtype=dtype)


def test_callers_decimal_context_does_not_matter():
    with decimal.localcontext() as context:
        context.prec, context.traps[decimal.Inexact] = 3, True
        got = winit.draw(winit.truncated_normal(low=-1.23, high=1.77), 4, seed=0, dtype="float64")
    exact.truncated_masses.cache_clear()
    scheme_module._law_of.cache_clear()
    assert (got == winit.draw(winit.truncated_normal(low=-1.23, high=1.77), 4, seed=0, dtype="float64")).all()


@pytest.mark.parametrize("dtype", [np.int32, bool, np.complex64, np.longdouble])
def test_out_of_a_dtype_that_laws_do_not_have(dtype):
    out = fresh(4, dtype=dtype)
    before = out.tobytes()
    with pytest.raises(
        TypeError, match="normal.* draws floating-point values, so out must hold one of float32, float64|out must hold"
    ):
        winit.fill(out, NORMAL, seed=0)
    with pytest.raises(
        TypeError, match="add needs an out of float32, float64, float16, bfloat16, float8_e4m3fn, float8_e5m2, not"
    ):
        winit.add(out, winit.ones(), seed=0)
    assert out.tobytes() == before


@pytest.mark.parametrize(
    ("dtype", "error", "match"),
    [
        (
            "float33",
            TypeError,
            "dtype must be float32, .*, bfloat16, float8_e4m3fn, float8_e5m2 or a NumPy dtype, not 'float33'",
        ),
        (">f4", ValueError, "dtype must be in native byte order"),
        ("int32", TypeError, "normal.* draws floating-point values"),
        ("U3", TypeError, "dtype must be boolean, integer, real or complex, not <U3"),
        (None, TypeError, "dtype must be .*, not None"),
        ("a4", TypeError, "dtype must be .*, not 'a4'"),
        ("f4,", TypeError, "dtype must be .*, not 'f4,'"),
        (np.floating, TypeError, "dtype must be .*, not <class 'numpy.floating'>"),
        ([("a", "f4")], TypeError, r"dtype must be .*, not \[\('a', 'f4'\)\]"),
        (("f4", 1), TypeError, r"dtype must be .*, not \('f4', 1\)"),
    ],
)
def test_dtype(dtype, error, match):
    with pytest.raises(error, match=match):
        winit.draw(NORMAL, 4, seed=0, dtype=dtype)


def test_constants_that_a_dtype_does_not_have():
    for value, dtype in [(1.5, "int32"), (300, "uint8"), (-1, "uint64"), (2, "bool"), (2**63, "int64")]:
        with pytest.raises(ValueError, match=rf"constant\({value!r}\) holds values that {dtype} does not have"):
            winit.draw(winit.constant(value), 3, seed=0, dtype=dtype)
    for value, dtype in [
        (1e6, "float16"),
        (1e39, "float32"),
        (1e39, "bfloat16"),
        (449, "float8_e4m3fn"),
        (57345, "float8_e5m2"),
        (10**400, "float64"),
    ]:
        with pytest.raises(ValueError, match=f"beyond the range of {dtype}"):
            winit.draw(winit.constant(value), 3, seed=0, dtype=dtype)
    with pytest.raises(TypeError, match="dtype must be boolean, integer, real or complex, not"):
        winit.draw(winit.zeros(), 3, seed=0, dtype="datetime64[s]")
    with pytest.raises(ValueError, match=r"literal values have shape \(2,\), the tensor has \(3,\)"):
        winit.draw(winit.literal([1.0, 2.0]), 3, seed=0)


@pytest.mark.parametrize(
    ("shape", "error", "match"),
    [
        ((3, -1), ValueError, r"shape must not hold negative sizes: \(3, -1\)"),
        ((2**32, 2**32), ValueError, r"18446744073709551616 elements, more than 2\^63"),
        ((2.0,), TypeError, "shape must hold integers, not 2.0"),
        ({2, 3}, TypeError, "shape must be a sequence of integers, not set"),
        ((1,) * 65, ValueError, "shape must have at most 64 axes, not 65"),
        ((True,), TypeError, "shape must hold integers, not True"),
        ("34", TypeError, "shape must be a sequence of integers, not str"),
        (None, TypeError, "shape must be a sequence of integers, not NoneType"),
    ],
)
def test_shape(shape, error, match):
    with pytest.raises(error, match=match):
        winit.draw(NORMAL, shape, seed=0)


def test_what_cannot_be_allocated():
    for shape in ((2**50,), (2**62, 2)):
        with pytest.raises(MemoryError):
            winit.draw(NORMAL, shape, seed=0)
    with pytest.raises(MemoryError):
        winit.draw(NORMAL, 2**63, seed=0, box=range(0, 2**63))
    assert winit.draw(NORMAL, (0, 2**63, 1), seed=0, box=(slice(0, 0), slice(0, 1), slice(0, 1))).size == 0
    assert winit.words(0, "", 2**64, 2**64).size == 0


@pytest.mark.parametrize(
    ("box", "error", "match"),
    [
        ((slice(0, 2),) * 3, ValueError, r"box has 3 slices for a shape of 2 axes, \(4, 5\)"),
        ((..., slice(0, 2), ...), ValueError, "box must not hold more than one Ellipsis"),
        ((slice(0, 2), 3), TypeError, r"box must hold slices, not 3 \(axis 1\)"),
        ((slice(0, 5), slice(None)), ValueError, "outside axis 0 of size 4"),
        ((slice(-5, 4), slice(None)), ValueError, r"slice\(-5, 4, None\) is outside axis 0"),
        ((slice(3, 2), slice(None)), ValueError, "or empty backwards"),
        ((slice(0, 4, 2), slice(None)), ValueError, "box slices must have step 1"),
        ((slice(0, 4, True), slice(None)), ValueError, "box slices must have step 1"),
        ((slice(0.0, 4), slice(None)), TypeError, "box must hold slices of integers"),
        (range(0, 21), ValueError, r"box range\(0, 21\) must be a range\(lo, hi\) with 0 <= lo <= hi <= 20, of step 1"),
        (range(0, 10, 2), ValueError, "of step 1"),
        (range(-1, 4), ValueError, "0 <= lo <= hi"),
        (slice(0, 5), ValueError, "outside axis 0 of size 4"),
        (3, TypeError, "box must be a slice, a tuple of slices or a range of flat indices, not int"),
        ([slice(0, 4), slice(0, 5)], TypeError, "not list"),
    ],
)
def test_box(box, error, match):
    with pytest.raises(error, match=match):
        winit.draw(NORMAL, (4, 5), seed=0, box=box)
    reject(error, match, fresh(2, 2), shape=(4, 5), box=box)


@pytest.mark.parametrize(
    ("threads", "error", "match"),
    [
        (0, ValueError, "threads must be at least 1, not 0"),
        (-3, ValueError, "threads must be at least 1, not -3"),
        (1.5, TypeError, "threads must be an integer or None, not float"),
        (True, TypeError, "threads must be an integer or None, not bool"),
    ],
)
def test_threads(threads, error, match):
    reject(error, match, fresh(4), threads=threads)
    with pytest.raises(error, match=match):
        winit.draw(NORMAL, 4, seed=0, threads=threads)


@pytest.mark.parametrize(
    ("layout", "shape", "error", "match"),
    [
        ("io", (4,), ValueError, r"layout 'io' needs a shape of at least two axes to have fans, not \(4,\)"),
        ("oi", (), ValueError, r"layout 'oi' needs a shape of at least two axes to have fans, not \(\)"),
        ("hwio", (4, 5), ValueError, "layout must be 'oi', 'io' or winit.Axes, not 'hwio'"),
        (3, (4, 5), TypeError, "layout must be 'oi', 'io' or winit.Axes, not int"),
        (["oi"], (4, 5), TypeError, "layout must be 'oi', 'io' or winit.Axes, not list"),
        (Axes((1, -1), 0), (4, 5), ValueError, r"in_ names axis 1 twice: \(1, -1\)"),
        (Axes(1, 0, groups=2, splits=4), (4, 5), ValueError, "splits=4 does not divide the 2 channels along out"),
        (Axes(0, 2), (4, 5), ValueError, r"out axis 2 is outside a shape of 2 axes, \(4, 5\)"),
        (Axes(1, 0, batch=0), (4, 5), ValueError, r"batch axes \[0\] are also in_ or out axes"),
        (Axes(1, 0, groups=3), (4, 5), ValueError, "groups=3 does not divide the 4 channels along out"),
        (Axes(1, 0, splits=3), (4, 5), ValueError, "splits=3 does not divide the 4 channels along out"),
    ],
)
def test_layout(layout, shape, error, match):
    reject(error, match, fresh(*shape), scheme=winit.he_normal(), layout=layout)
    with pytest.raises(error, match=match):
        winit.fans(shape, layout)


def test_axes():
    with pytest.raises(TypeError, match="in_ must be an axis or a tuple of axes, not 'x'"):
        Axes("x", 0)
    with pytest.raises(TypeError, match="out must be an axis"):
        Axes(0, 1.5)
    with pytest.raises(ValueError, match="out names an axis twice"):
        Axes(0, (1, 1))
    with pytest.raises(ValueError, match="groups must be at least 1, not 0"):
        Axes(0, 1, groups=0)
    with pytest.raises(TypeError, match="splits must be an integer, not float"):
        Axes(0, 1, splits=2.0)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: winit.normal(std=-1), ValueError, "std must not be negative, not -1.0"),
        (lambda: winit.normal(mean=float("nan")), ValueError, "mean must be finite, not nan"),
        (lambda: winit.normal(std=float("inf")), ValueError, "std must be finite, not inf"),
        (lambda: winit.normal(std="1"), TypeError, "std must be a number, not '1'"),
        (lambda: winit.normal(std=True), TypeError, "std must be a number, not True"),
        (lambda: winit.normal(std=np.ones(2)), TypeError, "std must be a number"),
        (lambda: winit.normal(std=np.complex64(1 + 2j)), TypeError, "std must be a number"),
        (lambda: winit.normal(std=np.True_), TypeError, "std must be a number"),
        (lambda: winit.normal(std=10**400), ValueError, "std must be within the range of float64"),
        (lambda: winit.gain("elu", 10**400), ValueError, "param must be within the range of float64"),
        (lambda: winit.uniform(1, 1), ValueError, "low must be less than high, not 1.0 and 1.0"),
        (lambda: winit.uniform(2, 1), ValueError, "low must be less than high, not 2.0 and 1.0"),
        (lambda: winit.truncated_normal(low=2, high=-2), ValueError, "low must be less than high"),
        (lambda: winit.uniform(high=float("inf")), ValueError, "high must be finite"),
        (lambda: winit.variance_scaling(-1), ValueError, "scale must not be negative"),
        (lambda: winit.variance_scaling(1, "fan"), ValueError, "mode must be one of 'fan_in', 'fan_out', 'fan_avg'"),
        (lambda: winit.variance_scaling(1, None), TypeError, "mode must be a str, not NoneType"),
        (lambda: winit.variance_scaling(distribution="cauchy"), ValueError, "distribution must be one of 'normal'"),
        (lambda: winit.xavier_normal(-1), ValueError, "gain must not be negative"),
        (
            lambda: winit.he_normal(nonlinearity="swosh"),
            ValueError,
            "nonlinearity must be one of .*relu.*, not 'swosh'",
        ),
        (lambda: winit.he_normal(0.2, nonlinearity="relu"), ValueError, "a is the slope of leaky_relu; relu has none"),
        (lambda: winit.constant("1"), TypeError, "value must be a real number, not '1'"),
        (lambda: winit.constant(float("nan")), ValueError, "value must be finite, not nan"),
        (lambda: winit.constant(10**400), ValueError, "value is beyond the range of float64"),
        (lambda: winit.literal([1.0, float("inf")]), ValueError, "values must be finite"),
        (lambda: winit.literal(["a"]), TypeError, "values must be bool, int or float"),
        (lambda: winit.literal([]), ValueError, "values must not be empty"),
        (lambda: winit.gain("relu", 0.1), ValueError, "relu takes no param; leaky_relu and elu do"),
        (lambda: winit.gain(3), TypeError, "nonlinearity must be a str, not int"),
        (lambda: winit.gain("elu", float("nan")), ValueError, "param must be finite"),
        (lambda: winit.gain("elu", "1"), TypeError, "param must be a number, not '1'"),
    ],
)
def test_scheme_parameters(make, error, match):
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize(
    ("scheme", "dtype", "match"),
    [
        (winit.normal(std=1e4), np.float16, r"normal\(0.0, 10000.0\) reaches 67700, beyond the range of float16"),
        (winit.normal(mean=3e38, std=1e38), np.float32, "beyond the range of float32"),
        (winit.normal(std=1e308), np.float64, "beyond the range of float64"),
        (winit.uniform(0, 1e5), np.float16, "beyond the range of float16"),
        (winit.uniform(-3e38, 3e38), np.float32, "spans more than float32 can hold"),
        (winit.uniform(1, 1 + 1e-9), np.float32, "is empty in float32: its ends round to 1.0 and 1.0"),
        (winit.truncated_normal(low=13, high=14), np.float32, "lies beyond 12 standard deviations"),
        (winit.truncated_normal(low=-40, high=-37), np.float64, "lies beyond 36 standard deviations"),
        (winit.truncated_normal(-3e38, 2e38, 1.5, 3), np.float32, "reaches .* beyond the range of float32"),
        (winit.truncated_normal(std=1e5), np.float16, "beyond the range of float16"),
        (winit.truncated_normal(low=1, high=1 + 1e-9), np.float32, "is empty in float32"),
    ],
)
def test_laws_that_a_dtype_cannot_hold(scheme, dtype, match):
    reject(ValueError, match, fresh(4, dtype=dtype), scheme=scheme)
    with pytest.raises(ValueError, match=match):
        winit.draw(scheme, 4, seed=0, dtype=dtype)


def test_truncated_laws_that_reach_less_far_are_not_refused():
    """The cuts may be far out when no value gets there."""
    out = winit.draw(winit.truncated_normal(std=1e4, low=-1e9, high=1e9), 10_000, seed=0, dtype="float16")
    assert np.isfinite(out.astype(float)).all()


@pytest.mark.parametrize(
    ("scale", "error", "match"),
    [
        (float("inf"), ValueError, "scale must be finite"),
        (1e39, ValueError, r"scale 1e\+39 is beyond the range of float32"),
        ("1", TypeError, "scale must be a number, not '1'"),
        (1e-50, ValueError, "scale 1e-50 is 0 in float32, in which noise is added to float32: nothing would change"),
        (-1e-46, ValueError, "scale -1e-46 is 0 in float32"),
    ],
)
def test_scale(scale, error, match):
    out = fresh(4)
    with pytest.raises(error, match=match):
        winit.add(out, NORMAL, seed=0, scale=scale)
    assert (out == 7).all()


def test_scales_that_are_small_are_taken_where_they_are_numbers():
    noise = winit.draw(NORMAL, 4, seed=0, dtype="float64")
    assert (winit.add(np.zeros(4), NORMAL, seed=0, scale=1e-50) == 1e-50 * noise).all()
    assert winit.add(np.zeros(4, np.float32), NORMAL, seed=0, scale=1e-44).any()
    assert (winit.add(np.ones(4, np.float32), NORMAL, seed=0, scale=0.0) == 1).all()
    with pytest.raises(ValueError, match="scale 1e-50 is 0 in float32, in which noise is added to float16"):
        winit.add(np.zeros(4, np.float16), NORMAL, seed=0, scale=1e-50)


@pytest.mark.parametrize(
    ("lo", "hi", "tag", "error", "match"),
    [
        (3, 2, 0, ValueError, r"words must be a range with 0 <= lo <= hi <= 2\^64, not \[3, 2\)"),
        (-1, 2, 0, ValueError, "0 <= lo <= hi"),
        (0, 2**64 + 1, 0, ValueError, "0 <= lo <= hi"),
        (0, 2, 2**32, ValueError, r"tag must be in \[0, 2\^32\)"),
        (0.0, 2, 0, TypeError, "lo must be an integer, not float"),
        (0, True, 0, TypeError, "hi must be an integer, not bool"),
    ],
)
def test_words(lo, hi, tag, error, match):
    with pytest.raises(error, match=match):
        winit.words(0, "", lo, hi, tag)


def test_engines(monkeypatch):
    with pytest.raises(ValueError, match="engine must be one of 'cython', 'numba', 'reference', not 'cuda'"):
        winit.use_engine("cuda")
    with pytest.raises(ValueError, match="engine 'reference' runs on 'baseline' here, not on 'avx9'"):
        winit.use_engine("reference", "avx9")
    monkeypatch.setattr("winit._kernels.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"engine 'numba' needs the package numba.*pip install 'winit\[numba\]'"):
        winit.use_engine("numba")
    assert not winit.engines()["numba"]["present"] and winit.engines()["numba"]["instruction_sets"] == ()
    assert "pip install 'winit[numba]'" in winit.engines()["numba"]["reason"]


def test_the_engine_of_devices(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="engine 'triton' is not chosen: it draws what lies on a device"):
        winit.use_engine("triton")
    assert all(each["reason"] is None for each in winit.engines().values() if each["present"])
    kernels = winit._kernels
    monkeypatch.setattr(kernels, "DEVICE_FILES", ())
    if "torch" in sys.modules:
        monkeypatch.setattr(sys.modules["torch"].cuda, "is_available", lambda: False)
    found = winit.engines()["triton"]
    assert not found["present"] and found["instruction_sets"] == () and found["in_use"] is None
    none = "needs a CUDA or ROCm device, and (this machine has|torch finds) none|needs the package"
    assert re.search(none, found["reason"])
    monkeypatch.setattr("winit._kernels.find_spec", lambda name: object() if name != "triton" else None)
    reason = "engine 'triton' needs the package triton, which is not installed: pip install 'winit[triton]'"
    assert winit.engines()["triton"]["reason"] == reason and kernels.device_engine() == (None, reason)
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("winit._kernels.find_spec", lambda name: object())
    monkeypatch.setattr(kernels, "DEVICE_FILES", (str(tmp_path),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch finds none" in winit.engines()["triton"]["reason"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert winit.engines()["triton"] == {"present": True, "instruction_sets": (), "in_use": None, "reason": None}


def test_missing_ml_dtypes(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    for dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        with pytest.raises(ImportError, match=f"'{dtype}' needs the package ml_dtypes.*pip install ml_dtypes"):
            winit.draw(NORMAL, 4, seed=0, dtype=dtype)


def test_an_error_in_a_thread_reaches_the_caller():
    from winit._core.threads import run_tasks

    def work(task):
        if task == 5:
            raise RuntimeError("five")

    with pytest.raises(RuntimeError, match="five"):
        run_tasks(work, list(range(50)), 4)
