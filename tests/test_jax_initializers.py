"""winit.jax.initializers: JAX's names, protocol and laws, on every road that JAX takes through an initializer."""

from __future__ import annotations

import importlib
import inspect
import warnings

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import winit  # noqa: E402
import winit.jax  # noqa: E402
from winit.jax import initializers, inside, key_stream, points  # noqa: E402

presets = winit.presets.jax
KEYS = {
    "typed": lambda seed: jax.random.key(seed),
    "raw": lambda seed: jax.random.PRNGKey(seed),
    "rbg": lambda seed: jax.random.key(seed, impl="rbg"),
    "unsafe_rbg": lambda seed: jax.random.key(seed, impl="unsafe_rbg"),
    "philox": lambda seed: jax.random.key(seed, impl="philox4x32"),
}
LAWS = {
    "uniform": (initializers.uniform(0.3), presets.uniform(0.3)),
    "normal": (initializers.normal(0.2), presets.normal(0.2)),
    "truncated_normal": (
        initializers.truncated_normal(0.2, lower=-1.0, upper=3.0),
        presets.truncated_normal(0.2, -1.0, 3.0),
    ),
    "variance_scaling": (
        initializers.variance_scaling(2.0, "fan_geo_avg", "normal"),
        presets.variance_scaling(2.0, "fan_geo_avg", "normal"),
    ),
    "embed": (
        initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0),
        presets.variance_scaling(1.0, "fan_in", "normal", out_axis=0),
    ),
    "orthogonal": (initializers.orthogonal(2.0), presets.orthogonal(2.0)),
    **{
        name: (getattr(initializers, name)(), getattr(presets, name)())
        for name in ("glorot_uniform", "glorot_normal", "lecun_uniform", "lecun_normal", "he_uniform", "he_normal")
    },
}
SHAPE = (24, 20)


def bits(array):
    return np.asarray(array).tobytes()


def expected(scheme, key, shape=SHAPE, dtype="float32"):
    seed, name = key_stream(key)
    return winit.draw(scheme, shape, seed=seed, name=name, dtype=dtype, layout="io")


# ---- names


def test_every_name_of_jax_with_its_parameters():
    theirs = {name for name in dir(jax.nn.initializers) if not name.startswith("_")} - {"Initializer"}
    assert theirs == set(initializers.__all__) == set(dir(initializers))
    for name in theirs:
        mine, other = (
            inspect.signature(getattr(module, name)).parameters for module in (initializers, jax.nn.initializers)
        )
        assert {n: p.default for n, p in mine.items()} == {n: p.default for n, p in other.items()}, name
        assert list(mine) == list(other), name
        assert [p.kind for p in mine.values()] == [p.kind for p in other.values()], name


def test_the_protocol():
    init = initializers.he_normal()
    assert list(inspect.signature(init).parameters) == ["key", "shape", "dtype", "out_sharding"]
    assert init == initializers.he_normal() and hash(init) == hash(initializers.he_normal())
    assert init != initializers.he_normal(in_axis=0) and init != winit.jax.in_xla(init)
    assert jax.tree.leaves(init) == [init]  # a leaf, and no tree


# ---- keys


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_a_stream(kind):
    """The rule of winit.jax.keys, written out again."""
    from hashlib import blake2b

    key = KEYS[kind](7)
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    impl, data = (str(jax.random.key_impl(key)), jax.random.key_data(key)) if typed else ("threefry2x32", key)
    text = np.asarray(data).astype("<u4").tobytes() + np.array([data.size, 1], "<u4").tobytes() + impl.encode()
    seed = int.from_bytes(blake2b(text, digest_size=8, person=b"winit-jax-key-1").digest(), "little")
    assert key_stream(key) == (seed, "")


def test_golden_streams():
    """A change of one of these changes the weights of everybody's models."""
    assert [hex(key_stream(make(7))[0]) for make in KEYS.values()] == GOLDEN
    assert hex(key_stream(jax.random.fold_in(jax.random.key(0), 3))[0]) == FOLDED


GOLDEN = [
    "0x2469ba8941018eb0",
    "0x2469ba8941018eb0",
    "0x92aa09269691d15f",
    "0xb79498e295523e52",
    "0x421aa60d1874d795",
]
FOLDED = "0xf881b3bcac181c18"


def test_split_and_fold_in_mean_what_they_mean_in_jax():
    key = jax.random.key(0)
    two, three = jax.random.split(key, 2), jax.random.split(key, 3)
    assert key_stream(two[0]) == key_stream(three[0]) == key_stream(jax.random.fold_in(key, 0))
    streams = {key_stream(each) for each in [key, *jax.random.split(key, 100), *jax.random.split(two[0], 100)]}
    assert len(streams) == 201
    assert key_stream(jax.random.PRNGKey(3)) == key_stream(jax.random.key(3))
    with jax.default_prng_impl("rbg"):
        assert key_stream(jax.random.PRNGKey(3)) == key_stream(jax.random.key(3, impl="rbg"))
    assert key_stream(jax.random.key(3, impl="rbg")) != key_stream(jax.random.key(3, impl="unsafe_rbg"))


def test_wrong_keys():
    init = initializers.normal()
    for wrong, error, words in (
        (0, TypeError, "key must be a key of jax.random, not 0"),
        (None, TypeError, "not None"),
        (jnp.zeros(2), TypeError, "key must be a key"),
        (jax.random.split(jax.random.key(0), 3), ValueError, "use jax.vmap"),
        (jnp.zeros((3, 2), "uint32"), ValueError, "use jax.vmap"),
    ):
        with pytest.raises(error, match=words):
            init(wrong, (3,))
    with pytest.raises(TypeError, match="key is traced"):
        jax.jit(key_stream)(jax.random.key(0))


# ---- roads


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "typed") for name in LAWS), *(("he_normal", kind) for kind in KEYS if kind != "typed")]
)
def test_eagerly_and_under_jit(name, kind):
    init, scheme = LAWS[name]
    key = KEYS[kind](3)
    whole = bits(expected(scheme, key))
    assert bits(init(key, SHAPE)) == whole
    assert bits(jax.jit(lambda key: init(key, SHAPE))(key)) == whole
    assert bits(jax.jit(lambda: init(key, SHAPE))()) == whole  # a key that the program has in it
    if name != "orthogonal":
        assert bits(jax.jit(lambda key: winit.jax.in_xla(init)(key, SHAPE))(key)) == whole


@pytest.mark.parametrize("make", [lambda init: init, winit.jax.in_xla], ids=["callback", "in_xla"])
def test_vmap_scan_grad_and_eval_shape(make):
    init, scheme = make(initializers.he_normal()), presets.he_normal()
    keys = jax.random.split(jax.random.key(1), 6)
    layers = np.stack([expected(scheme, key) for key in keys])
    assert bits(jax.vmap(lambda key: init(key, SHAPE))(keys)) == bits(layers)
    assert bits(jax.jit(jax.vmap(lambda key: init(key, SHAPE)))(keys)) == bits(layers)
    nested = jax.vmap(jax.vmap(lambda key: init(key, SHAPE)))(keys.reshape(2, 3))
    assert bits(nested) == bits(layers)
    raw = jax.vmap(lambda key: init(key, SHAPE))(jax.random.key_data(keys))
    assert bits(raw) == bits(layers)
    scanned = jax.lax.scan(lambda carry, key: (carry, init(key, SHAPE)), None, keys)[1]
    assert bits(scanned) == bits(layers)
    shape = jax.eval_shape(lambda key: init(key, SHAPE, jnp.bfloat16), keys[0])
    assert shape.shape == SHAPE and shape.dtype == jnp.bfloat16
    slope = jax.grad(lambda scale: (scale * init(keys[0], SHAPE)).sum())(1.0)
    assert float(slope) == pytest.approx(layers[0].sum(), abs=1e-3)
    assert bits(jax.checkpoint(lambda key: init(key, SHAPE))(keys[0])) == bits(layers[0])


def test_eval_shape_calls_no_host(monkeypatch):
    from winit.jax import calling

    def host(*given):
        raise AssertionError("the host was called")

    monkeypatch.setattr(calling, "_host", host)
    jax.eval_shape(lambda key: initializers.he_normal()(key, SHAPE), jax.random.key(0))


def test_shapes_and_dtypes():
    key = jax.random.key(0)
    init, scheme = LAWS["lecun_normal"]
    assert bits(init(key, [24, 20])) == bits(init(key, (np.int64(24), 20))) == bits(expected(scheme, key))
    for dtype in ("bfloat16", "float16", "float8_e5m2"):
        assert bits(init(key, SHAPE, dtype)) == bits(expected(scheme, key, dtype=dtype))
        assert init(key, SHAPE, dtype).dtype == dtype
    assert initializers.lecun_normal(dtype="bfloat16")(key, SHAPE).dtype == "bfloat16"
    assert initializers.lecun_normal(dtype="bfloat16")(key, SHAPE, jnp.float16).dtype == "float16"
    assert init(key, (0, 4)).shape == (0, 4)
    assert initializers.normal()(key, ()).shape == ()
    with pytest.warns(UserWarning, match="dtype float64 needs jax_enable_x64, and is float32 without it"):
        assert init(key, SHAPE, "float64").dtype == "float32"
    with jax.enable_x64(True):
        assert init(key, SHAPE).dtype == "float64"
        assert bits(init(key, SHAPE)) == bits(expected(scheme, key, dtype="float64"))
        assert bits(jax.jit(lambda key: init(key, SHAPE))(key)) == bits(expected(scheme, key, dtype="float64"))
    for wrong in (jnp.int32, jnp.complex64):
        with pytest.raises(TypeError, match="draws floating-point values"):
            init(key, SHAPE, wrong)
    with pytest.raises(ValueError, match="needs a shape of at least two axes"):
        init(key, (8,))
    for one in (initializers.zeros, initializers.ones, initializers.constant(5.0), initializers.constant(3, "int8")):
        assert one(key, SHAPE, "int32").dtype == "int32" and one(None, (2, 3)).shape == (2, 3)
    assert initializers.constant(np.arange(3.0))(key, (2, 3)).tolist() == [[0, 1, 2]] * 2
    assert initializers.constant(0.1)(key, (1,), "bfloat16")[0] == winit.draw(winit.constant(0.1), 1, seed=0)[0].astype(
        "bfloat16"
    )


def test_pythons_own_types_are_jaxs_default_dtypes():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert initializers.normal()(jax.random.key(0), (3,), float).dtype == "float32"
        assert initializers.zeros(None, (3,), int).dtype == "int32"
        with jax.enable_x64(True):
            assert initializers.normal()(jax.random.key(0), (3,), float).dtype == "float64"


@pytest.mark.parametrize("dtype", ["int4", "uint4", "float8_e4m3b11fnuz", "float8_e4m3fn", "complex64", "bool"])
def test_fixed_values_in_every_dtype_of_jax(dtype):
    for name in ("zeros", "ones"):
        mine, theirs = (getattr(each, name)(None, (2, 3), dtype) for each in (initializers, jax.nn.initializers))
        assert mine.dtype == theirs.dtype and bits(mine) == bits(theirs)
    assert bits(initializers.constant(1)(None, (2,), dtype)) == bits(jax.nn.initializers.constant(1)(None, (2,), dtype))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.float32(np.inf)])
def test_constants_that_are_not_finite(value):
    for dtype in ("float32", "bfloat16", "float8_e5m2", "complex64"):
        mine, theirs = (each.constant(value)(None, (2,), dtype) for each in (initializers, jax.nn.initializers))
        assert bits(mine) == bits(theirs), dtype
    for dtype in ("int32", "bool") if value != value else ("int32", "float8_e4m3fn"):
        with pytest.raises(ValueError, match=f"value must be one that {dtype} has"):
            initializers.constant(value)(None, (2,), dtype)


def test_an_initializers_own_dtype_is_checked_when_it_is_made():
    for make in (initializers.he_normal, lambda dtype: initializers.constant(0.5, dtype)):
        with pytest.raises(TypeError, match="dtype must be"):
            make(dtype="floaty")
        with pytest.raises(TypeError, match="dtype must be"):
            make(dtype=3)
    assert initializers.constant(1, "int4")(None, (2,)).dtype == "int4"


def test_messages_call_a_law_by_its_function():
    with pytest.raises(TypeError, match="^he_normal draws floating-point values"):
        initializers.he_normal()(jax.random.key(0), (3, 4), "int32")
    with pytest.raises(ValueError, match="^orthogonal is not drawn inside XLA"):
        winit.jax.in_xla(initializers.orthogonal())(jax.random.key(0), (3, 4))


@pytest.mark.parametrize(
    ("value", "dtype", "error", "words"),
    [
        (1.5, "int32", ValueError, "int32 does not have"),
        (2**40, "int32", ValueError, "int32 does not have"),
        (9, "int4", ValueError, "value must be one that int4 has, not 9"),
        (2**40, "float8_e4m3b11fnuz", ValueError, "value must be one that float8_e4m3b11fnuz has"),
        (np.array([1, 2.5]), "int32", ValueError, "value must be one that int32 has, not 2.5"),
        (np.array(1j), "float32", ValueError, "value must be one that float32 has, not 1j"),
        (np.array([1e300]), "float32", ValueError, "value must be one that float32 has"),
        (np.ones(3), "float32", ValueError, r"value must broadcast to the shape \(2, 2\), and is of shape \(3,\)"),
        ([1, 2], "float32", TypeError, "value must be a number or an array of numbers"),
        (np.array("x"), "float32", TypeError, "value must be a number or an array of numbers"),
    ],
)
def test_constants_that_no_dtype_holds(value, dtype, error, words):
    with pytest.raises(error, match=words):
        initializers.constant(value)(None, (2, 2), dtype)


def test_shapes_and_shardings_are_checked_alike():
    key = jax.random.key(0)
    ones = initializers.normal(), winit.jax.in_xla(initializers.normal()), initializers.zeros, initializers.ones
    for one in (*ones, initializers.constant(2)):
        with pytest.raises(ValueError, match="shape must not hold negative sizes"):
            one(key, (3, -1))
        with pytest.raises(TypeError, match="shape must hold integers"):
            one(key, (2.5, 3))
        with pytest.raises(TypeError, match="out_sharding must be a NamedSharding, a PartitionSpec or None, not 3"):
            one(key, (3, 4), out_sharding=3)
        with pytest.raises(ValueError, match="out_sharding .* must have at most as many axes as the shape"):
            one(key, (3, 4), out_sharding=jax.P(None, None, "x"))
        with pytest.raises(ValueError, match="out_sharding .* needs a mesh"):
            one(key, (3, 4), out_sharding=jax.P("x"))


def test_several_processes_trace_and_do_not_compile(monkeypatch):
    """eval_shape and flax's apply trace every initializer, on several processes too; only a program is refused."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    init, key = initializers.orthogonal(), jax.random.key(0)
    assert jax.eval_shape(lambda key: init(key, (4, 3), "bfloat16"), key).shape == (4, 3)
    keys = jax.random.split(key, 5)
    assert jax.eval_shape(jax.vmap(lambda key: init(key, (4, 3))), keys).shape == (5, 4, 3)
    with pytest.raises(ValueError, match="on several processes gives all of them the first one's values"):
        jax.jit(lambda key: init(key, (4, 3)))(key)
    nn = pytest.importorskip("flax.linen")
    dense, x = nn.Dense(3, kernel_init=init), jnp.ones((1, 4))
    params = dense.init(key, x)
    assert jax.jit(dense.apply)(params, x).shape == (1, 3)


# ---- inside XLA


@pytest.mark.parametrize("shape", [(), (5,), (7, 9), (2, 3, 5, 4), (0, 4), (40_003,)])
@pytest.mark.parametrize("scheme", [winit.normal(0.1, 0.3), winit.truncated_normal(0.1, 0.3), winit.uniform(-1, 2)])
def test_inside_xla_has_the_bits_of_the_host(scheme, shape):
    from winit.jax.calling import Initializer

    key = jax.random.key(11)
    for dtype in ("float32", "bfloat16", "float16") if shape == (7, 9) else ("float32",):
        made = jax.jit(lambda key, dtype=dtype: Initializer(scheme, None, True)(key, shape, dtype))(key)
        assert bits(made) == bits(expected(scheme, key, shape, dtype)), dtype


def test_inside_xla_under_other_settings():
    """With 64-bit types, without promotion of dtypes and ranks, and in an exported program."""
    key, init, scheme = jax.random.key(0), winit.jax.in_xla(initializers.he_normal()), presets.he_normal()
    whole = bits(expected(scheme, key))
    with jax.enable_x64(True):
        assert bits(jax.jit(lambda key: init(key, SHAPE, "float32"))(key)) == whole
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        assert bits(jax.jit(lambda key: init(key, SHAPE, "float32"))(key)) == whole
    raw = jax.random.PRNGKey(0)
    exported = importlib.import_module("jax.export").export(jax.jit(lambda key: init(key, SHAPE)))
    assert bits(exported(raw).call(raw)) == whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uniform", "normal", "truncated_normal"])
def test_inside_xla_at_ten_million_elements(name):
    init, scheme = LAWS[name]
    key = jax.random.key(12)
    made = jax.jit(lambda key: winit.jax.in_xla(init)(key, (2500, 4000)))(key)
    assert bits(made) == bits(expected(scheme, key, (2500, 4000)))


def test_what_is_refused_inside_xla():
    key = jax.random.key(0)
    for init, dtype, words in (
        (initializers.orthogonal(), None, "each element must have its own word"),
        (initializers.delta_orthogonal(), None, "each element must have its own word"),
        (initializers.normal(1e-30), None, "flushes small values to 0"),
        (initializers.truncated_normal(1.0, lower=11.9, upper=12.0), None, "flushes its masses to 0"),
        (initializers.normal(), "float8_e5m2", "dtype must be one of float32, bfloat16, float16 inside XLA"),
    ):
        with pytest.raises(ValueError, match=words):
            winit.jax.in_xla(init)(key, (3, 4, 4), dtype)
    with jax.enable_x64(True), pytest.raises(ValueError, match="not float64"):
        winit.jax.in_xla(initializers.normal())(key, (4, 4))
    with pytest.raises(TypeError, match="must be one of winit.jax.initializers"):
        winit.jax.in_xla(jax.nn.initializers.normal())
    assert winit.jax.in_xla(initializers.zeros) is initializers.zeros


def test_a_compiler_that_fuses_is_found_out(monkeypatch):
    """Without the guard XLA makes fused multiply-adds on this backend, and the proof says so."""
    monkeypatch.setattr(points.Guard, "__call__", lambda self, x: x)
    inside._check_backend.cache_clear()
    jax.clear_caches()
    try:
        with pytest.raises(RuntimeError, match="gives other bits than winit"):
            winit.jax.in_xla(initializers.normal())(jax.random.key(0), (4, 4))
    finally:
        inside._check_backend.cache_clear()
        jax.clear_caches()


# ---- laws


@pytest.mark.parametrize("name", LAWS)
def test_laws_are_jaxs(name):
    """Two-sample KS at 10^6 a side; all 12 together fail for equal laws with chance 1e-6.

    An orthogonal matrix's elements depend on each other in that their rows have length 1, which makes two of them agree
    better than independent numbers do.
    """
    stats = pytest.importorskip("scipy.stats")
    theirs = {
        "uniform": jax.nn.initializers.uniform(0.3),
        "normal": jax.nn.initializers.normal(0.2),
        "truncated_normal": jax.nn.initializers.truncated_normal(0.2, lower=-1.0, upper=3.0),
        "variance_scaling": jax.nn.initializers.variance_scaling(2.0, "fan_geo_avg", "normal"),
        "orthogonal": jax.nn.initializers.orthogonal(2.0),
        "embed": jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0),
    }
    other = theirs.get(name) or getattr(jax.nn.initializers, name)()
    shape = (800, 1250)
    one = np.asarray(LAWS[name][0](jax.random.key(0), shape)).ravel()
    two = np.asarray(other(jax.random.key(1), shape)).ravel()
    assert stats.ks_2samp(one, two, method="asymp").pvalue > 1e-6 / 12


def test_bfloat16_of_jax_and_of_winit():
    """JAX's bfloat16 normal has 128 values, the same on no two sides of 0; winit rounds float32 once."""
    key = jax.random.key(0)
    theirs = np.asarray(jax.nn.initializers.normal(1.0)(key, (1000, 1000), "bfloat16")).astype(np.float32)
    mine = np.asarray(initializers.normal(1.0)(key, (1000, 1000), "bfloat16")).astype(np.float32)
    assert len(np.unique(theirs)) == 128 and theirs.min() < -2.8 and theirs.max() < 2.6
    assert len(np.unique(mine)) > 2000 and mine.min() < -4 and mine.max() > 4


def test_no_warnings_eagerly():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initializers.normal()(jax.random.key(0), (3,))
