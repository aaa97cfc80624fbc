"""What tests/test_jax_sharded.py runs on eight forced host devices: one tree on many meshes, against its plan's build.

Run as a script: other tests of the same process have one device.
"""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import itertools
import resource

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

import winit
import winit.jax
from winit.jax import initializers
from winit.presets import jax as presets

SEED = 5
failures = []


def check(right, *what):
    if not right:
        failures.append(what)


def refused(kind, words, call, *what):
    try:
        call()
    except kind as error:
        check(all(word in str(error) for word in words), *what, str(error))
    else:
        check(False, *what, "was not refused")


MESHES = [
    ((8,), ("x",)),
    ((1,), ("x",)),
    ((4, 2), ("x", "y")),
    ((1, 8), ("x", "y")),
    ((2, 2, 2), ("x", "y", "z")),
    ((2, 1, 4), ("x", "y", "z")),
]


def meshes(*kinds):
    for sizes, names in MESHES:
        for types in kinds:
            yield jax.make_mesh(sizes, names, axis_types=(getattr(AxisType, types),) * len(sizes))


def specs(names, ndim):
    """Every way to give axes of a mesh to the axes of a tensor, each at most once, and two of them to one axis."""
    for chosen in itertools.product((None, *names), repeat=ndim):
        used = [name for name in chosen if name is not None]
        if len(set(used)) == len(used):
            yield P(*chosen)
    if len(names) > 1:
        yield P(names[:2])
        yield P(names)


SCHEMES = {
    "he": presets.he_normal(),
    "uniform": winit.uniform(-1, 1),
    "orthogonal": winit.orthogonal(),
    "columns": winit.sparse_columns(0.5),
    "rows": winit.sparse(3),
    "identity": winit.identity(),
    "embedding": winit.embedding(1.0, padding=2),
}


def same(array, whole):
    """Every shard, replicas too, holds the bits of its part, in memory of its own.

    Of a tensor that is the same everywhere JAX asks for one buffer, which its CPU devices share, and never write to.
    """
    shards = array.addressable_shards
    own = {shard.data.unsafe_buffer_pointer() for shard in shards}
    apart = array.sharding.is_fully_replicated or not array.size or len(own) == len(shards)
    bits = all(np.asarray(shard.data).tobytes() == np.asarray(whole[shard.index]).tobytes() for shard in shards)
    return bits and apart and array.dtype == whole.dtype


def tensors(mesh):
    tree = {
        dtype: {name: jax.ShapeDtypeStruct((16, 24), dtype) for name in SCHEMES}
        for dtype in ("float32", "bfloat16", "float16")
    }
    rules = [(f"*.{name}", scheme) for name, scheme in SCHEMES.items()]
    whole = winit.jax.plan(tree, rules).build(seed=SEED)
    for spec in specs(mesh.axis_names, 2):
        made = winit.jax.materialize(tree, rules, seed=SEED, shardings=NamedSharding(mesh, spec))
        for dtype, name in itertools.product(tree, SCHEMES):
            array = made[dtype][name]
            check(same(array, whole[f"{dtype}.{name}"]), mesh.shape, spec, dtype, name)
            check(array.sharding == NamedSharding(mesh, spec), mesh.shape, spec, "sharding")


def shapes(mesh):
    """Scalars, empty tensors, integers, three axes."""
    axis = mesh.axis_names[0]
    tree = {
        "scalar": jax.ShapeDtypeStruct((), "float32"),
        "empty": jax.ShapeDtypeStruct((0, 8), "float32"),
        "count": jax.ShapeDtypeStruct((8,), "int32"),
        "flag": jax.ShapeDtypeStruct((8,), "bool"),
        "conv": jax.ShapeDtypeStruct((3, 8, 16), "float32"),
        "experts": jax.ShapeDtypeStruct((8, 4, 6), "float32"),
        "bytes": jax.ShapeDtypeStruct((8, 4), "float8_e4m3fn"),
    }
    rules = [
        ("scalar", winit.normal()),
        ("count", winit.constant(7)),
        ("flag", winit.ones()),
        ("experts", winit.orthogonal(), winit.Axes(in_=1, out=2, batch=0)),
        ("*", winit.lecun_normal()),
    ]
    where = {
        "scalar": P(),
        "empty": P(None, axis),
        "count": P(axis),
        "flag": P(),
        "conv": P(None, axis),
        "experts": P(axis),
        "bytes": P(axis),
    }
    with jax.set_mesh(mesh):
        made = winit.jax.materialize(tree, rules, seed=SEED, shardings=where)
    for name, whole in winit.jax.plan(tree, rules).build(seed=SEED).items():
        check(same(made[name], whole), mesh.shape, name)


# ---- a transformer of 7.4 million parameters as MaxText writes them: layers stacked, axes with logical names

WIDTH, HEADS, SIZE, HIDDEN, LAYERS, WORDS = 256, 8, 32, 1024, 4, 8192
PARAMS = {
    "token_embedder.embedding": ((WORDS, WIDTH), ("vocab", "embed"), winit.normal(std=WIDTH**-0.5)),
    "decoder.layers.attention.query": (
        (WIDTH, LAYERS, HEADS, SIZE),
        ("embed", None, "heads", None),
        presets.lecun_normal(in_axis=0, out_axis=(2, 3), batch_axis=1),
    ),
    "decoder.layers.attention.key": (
        (WIDTH, LAYERS, HEADS, SIZE),
        ("embed", None, "heads", None),
        presets.lecun_normal(in_axis=0, out_axis=(2, 3), batch_axis=1),
    ),
    "decoder.layers.attention.value": (
        (WIDTH, LAYERS, HEADS, SIZE),
        ("embed", None, "heads", None),
        presets.lecun_normal(in_axis=0, out_axis=(2, 3), batch_axis=1),
    ),
    "decoder.layers.attention.out": (
        (HEADS, LAYERS, SIZE, WIDTH),
        ("heads", None, None, "embed"),
        presets.variance_scaling(1 / LAYERS, "fan_in", "normal", in_axis=(0, 2), out_axis=3, batch_axis=1),
    ),
    "decoder.layers.mlp.wi": (
        (WIDTH, LAYERS, HIDDEN),
        ("embed", None, "mlp"),
        presets.lecun_normal(in_axis=0, out_axis=2, batch_axis=1),
    ),
    "decoder.layers.mlp.wo": (
        (HIDDEN, LAYERS, WIDTH),
        ("mlp", None, "embed"),
        presets.lecun_normal(in_axis=0, out_axis=2, batch_axis=1),
    ),
    "decoder.layers.norm.scale": ((WIDTH, LAYERS), ("embed", None), winit.ones()),
    "decoder.logits.kernel": ((WIDTH, WORDS), ("embed", "vocab"), winit.orthogonal()),
}
LOGICAL = [
    {"embed": "x", "heads": None, "mlp": None, "vocab": None},  # fully sharded data parallel
    {"embed": None, "heads": "x", "mlp": "x", "vocab": "x"},  # tensor parallel
    {"embed": "x", "heads": "y", "mlp": "y", "vocab": "y"},
    {"embed": ("x", "y"), "heads": "z", "mlp": "z", "vocab": "z"},
    {},  # replicated
]


def nested(flat):
    tree = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def transformer():
    flat = {name: jax.ShapeDtypeStruct(shape, "bfloat16") for name, (shape, _, _) in PARAMS.items()}
    tree = nested(flat)
    rules = [(name, scheme) for name, (_, _, scheme) in PARAMS.items()]
    plan = winit.jax.plan(tree, rules)
    check(plan.parameters > 7_000_000, "the transformer's size", plan.parameters)
    whole = nested(plan.build(seed=SEED))
    count = 0
    for mesh in meshes("Explicit"):
        for logical in LOGICAL:
            used = jax.tree.leaves(list(logical.values()))
            if not set(used) <= set(mesh.axis_names):
                continue
            count += 1
            where = nested(
                {
                    name: NamedSharding(mesh, P(*(logical.get(axis) for axis in axes)))
                    for name, (_, axes, _) in PARAMS.items()
                }
            )
            made = winit.jax.materialize(tree, plan, seed=SEED, shardings=where)
            jax.tree.map(lambda a, b, m=mesh, lo=logical: check(same(a, b), m.shape, lo), made, whole)
    check(count >= 15, "few meshes", count)


# ---- noise


def noise(mesh):
    tree = {"w": jax.ShapeDtypeStruct((16, 24), "float32"), "b": jax.ShapeDtypeStruct((24,), "bfloat16")}
    rules = [("*", winit.normal(std=0.02))]
    whole = winit.jax.plan(tree, rules).build(seed=SEED)
    for spec in specs(mesh.axis_names, 1):
        for scheme in (winit.normal(), winit.orthogonal(), winit.sparse_columns(0.5)):
            which = tree if scheme == winit.normal() else {"w": tree["w"]}
            made = winit.jax.materialize(which, rules, seed=SEED, shardings=NamedSharding(mesh, spec))
            noisy = winit.jax.add(made, scheme, seed=3, name="step 1", scale=0.5)
            back = winit.jax.add(noisy, scheme, seed=3, name="step 1", scale=-0.5)
            for name in which:
                sums = winit.add(whole[name].copy(), scheme, seed=3, name=f"step 1/{name}", scale=0.5, layout="io")
                check(same(noisy[name], sums), mesh.shape, spec, scheme, name, "noise")
                check(noisy[name].sharding == made[name].sharding, "noise moved")
                check(same(made[name], whole[name]), mesh.shape, spec, "noise wrote into what was there")
                gap = jnp.max(jnp.abs(back[name].astype("float32") - made[name].astype("float32")))
                check(float(gap) <= (2e-2 if name == "b" else 1e-6), "noise taken away", float(gap))


def refusals():
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    tree = {"w": jax.ShapeDtypeStruct((6, 4), "float32"), "b": jax.ShapeDtypeStruct((8,), "float32")}
    rules = [("*", winit.normal())]

    def materialize(shardings, tree=tree, rules=rules):
        return winit.jax.materialize(tree, rules, seed=0, shardings=shardings)

    sharded = NamedSharding(mesh, P("x"))
    refused(ValueError, ["w: ", "dimension size is 6"], lambda: materialize(sharded), "indivisible")
    refused(
        ValueError,
        ["b: ", "only valid for values of rank at least 2"],
        lambda: materialize(NamedSharding(mesh, P(None, "x"))),
        "rank",
    )
    refused(ValueError, ["prefix of the tree"], lambda: materialize({"w": sharded}), "a prefix")
    refused(TypeError, ["b: its sharding must be"], lambda: materialize({"w": None, "b": 3}), "no sharding")
    refused(ValueError, ["says no devices"], lambda: materialize(P("x")), "a spec without a mesh")
    made = materialize({"w": None, "b": sharded})
    check(made["b"].sharding == sharded, "a mixed tree")
    check(made["w"].sharding == SingleDeviceSharding(jax.devices()[0]), "the default device")
    with jax.default_device(jax.devices()[3]):
        check(materialize(None)["w"].devices() == {jax.devices()[3]}, "the default device that was set")


def own_shardings():
    """A leaf's own sharding, as jax.eval_shape keeps it, on a real mesh and on an abstract one."""
    mesh = jax.make_mesh((4, 2), ("x", "y"))
    sharding = NamedSharding(mesh, P("x"))
    leaf = {"w": jax.ShapeDtypeStruct((8, 4), "float32", sharding=sharding)}
    check(winit.jax.materialize(leaf, [("*", winit.normal())], seed=0)["w"].sharding == sharding, "own sharding")
    with jax.set_mesh(mesh):
        abstract = jax.eval_shape(lambda: {"w": jnp.zeros((8, 4), out_sharding=P("y"))})
        made = winit.jax.materialize(abstract, [("*", winit.normal())], seed=0)
    check(made["w"].sharding == NamedSharding(mesh, P("y", None)), "a sharding of eval_shape", made["w"].sharding)


def memory():
    """No more than the shards: a replicated tensor of 64 MB on two devices, and eight of 32 MB sharded."""
    mesh = jax.make_mesh((8,), ("x",))
    tree = {f"w{i}": jax.ShapeDtypeStruct((1024, 8192), "float32") for i in range(8)}  # 256 MB together
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = winit.jax.materialize(tree, [("*", winit.normal())], seed=0, shardings=NamedSharding(mesh, P("x")))
    jax.block_until_ready(made)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    check(grown < 256 * 1.25, "memory grew by MB", grown)


def donation():
    """What materialize returns may be donated, as a training step does: replicas do not share memory."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    tree = {"w": jax.ShapeDtypeStruct((64, 64), "float32")}
    made = winit.jax.materialize(tree, [("*", winit.normal())], seed=0, shardings=NamedSharding(mesh, P()))
    whole = winit.jax.plan(tree, [("*", winit.normal())]).build(seed=0)["w"]
    step = jax.jit(lambda w: w * 2, donate_argnums=0)
    made = step(step(made["w"]))
    check(same(made, whole * 4), "donation")


def draws(mesh):
    """Initializers with out_sharding, eagerly and traced, and under a jit whose output is sharded."""
    key, shape = jax.random.key(3), (16, 24)
    init = initializers.he_normal()
    seed, name = winit.jax.key_stream(key)
    whole = winit.draw(presets.he_normal(), shape, seed=seed, name=name)
    explicit = mesh.axis_types[0] == AxisType.Explicit
    for spec in (P(mesh.axis_names[0]), P(None, mesh.axis_names[-1])):
        where = NamedSharding(mesh, spec)
        check(same(init(key, shape, out_sharding=where), whole), mesh.shape, spec, "eagerly")
        turned = initializers.orthogonal()
        alone = np.asarray(turned(key, shape))
        check(same(turned(key, shape, out_sharding=where), alone), mesh.shape, spec, "orthogonal, eagerly")
        for one in (init, winit.jax.in_xla(init)):
            made = jax.jit(lambda key, one=one: one(key, shape), out_shardings=where)(key)
            check(same(made, whole) and made.sharding == where, mesh.shape, spec, one.inside, "out_shardings")
            if explicit:
                with jax.set_mesh(mesh):
                    made = jax.jit(lambda key, one=one, spec=spec: one(key, shape, out_sharding=spec))(key)
                check(same(made, whole), mesh.shape, spec, one.inside, "out_sharding")
                check(made.sharding.is_equivalent_to(where, 2), mesh.shape, spec, made.sharding)


def keys_on_devices():
    """Draws inside XLA from keys that lie on a mesh: under vmap, and in shard_map, which looks at what varies."""
    keys, shape = jax.random.split(jax.random.key(3), 8), (8, 4)
    for init in (initializers.he_normal(), initializers.he_uniform(), initializers.truncated_normal()):
        inside = winit.jax.in_xla(init)
        whole = np.stack([init(key, shape) for key in keys])
        for mesh in meshes("Auto", "Explicit"):
            axis = mesh.axis_names[0]
            with jax.set_mesh(mesh):
                spread = jax.device_put(keys, NamedSharding(mesh, P(axis)))
                made = jax.jit(jax.vmap(lambda key, inside=inside: inside(key, shape)))(spread)
                check(np.array_equal(made, whole), mesh.shape, init, "vmap over sharded keys")

                def each(keys, inside=inside):
                    return jax.vmap(lambda one: inside(one, shape))(keys)

                made = jax.jit(jax.shard_map(each, in_specs=P(axis), out_specs=P(axis)))(spread)
                check(np.array_equal(made, whole), mesh.shape, init, "shard_map")


def committed_keys():
    """An eager draw lies where its key is committed, as JAX's own do, and is bound to it as they are."""
    device = jax.devices()[3]
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    for make in (jax.random.key, jax.random.PRNGKey):
        for where in (None, device, NamedSharding(mesh, P())):
            key = make(3) if where is None else jax.device_put(make(3), where)
            for name, shape in (("he_normal", (8, 6)), ("orthogonal", (8, 6)), ("normal", (3,))):
                mine, theirs = (getattr(each, name)()(key, shape) for each in (initializers, jax.nn.initializers))
                check(mine.sharding.is_equivalent_to(theirs.sharding, len(shape)), where, name, mine.sharding)
                check(mine.committed == theirs.committed, where, name, "committed")
                check(same(mine, np.asarray(getattr(initializers, name)()(make(3), shape))), where, name, "bits")


def within_a_mesh():
    """Under jax.set_mesh an eager draw lies where JAX's own would, so that flax can cut it afterwards."""
    key, shape = jax.random.key(3), (16, 24)
    for mesh in meshes("Auto", "Explicit"):
        alone = initializers.he_normal()(key, shape)
        with jax.set_mesh(mesh):
            mine, theirs = (each.he_normal()(key, shape) for each in (initializers, jax.nn.initializers))
            check(mine.sharding.is_equivalent_to(theirs.sharding, 2), mesh.shape, mine.sharding, "in a mesh")
            check(mine.committed == theirs.committed, mesh.shape, "committed in a mesh")
            check(same(mine, np.asarray(alone)), mesh.shape, "bits in a mesh")
            explicit = mesh.axis_types[0] == AxisType.Explicit
            cutting = jax.sharding.reshard if explicit else jax.lax.with_sharding_constraint
            cut = cutting(mine, P(mesh.axis_names[0]))
            check(same(cut, np.asarray(alone)), mesh.shape, "cut afterwards")
            scaled = jax.vmap(lambda x: x * initializers.he_normal()(key, shape))(jnp.ones(2))
            check(np.array_equal(scaled[1], alone), mesh.shape, "within vmap")


def mixed():
    """What has no sharding is not bound to a device, and meets arrays of a mesh."""
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    tree = {"w": jax.ShapeDtypeStruct((8, 8), "float32"), "b": jax.ShapeDtypeStruct((8,), "float32")}
    where = {"w": NamedSharding(mesh, P("x")), "b": None}
    made = winit.jax.materialize(tree, [("*", winit.normal())], seed=0, shardings=where)
    noisy = winit.jax.add(made, winit.normal(), seed=0, name="n")
    for each in (made, noisy):
        check(not each["b"].committed and each["w"].committed, "committed")
        jax.jit(lambda tree: tree["w"] + tree["b"])(each)


def main():
    for mesh in meshes("Auto", "Explicit"):
        shapes(mesh)
    for mesh in meshes("Explicit"):
        noise(mesh)
    for mesh in meshes("Auto", "Explicit"):
        if mesh.axis_sizes == (4, 2):
            draws(mesh)
    for mesh in (jax.make_mesh(sizes, names) for sizes, names in MESHES):
        tensors(mesh)
    transformer()
    refusals()
    own_shardings()
    keys_on_devices()
    committed_keys()
    within_a_mesh()
    mixed()
    memory()
    donation()
    for failure in failures[:10]:
        print("FAILED", *failure)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
