"""What every process of tests/test_jax_sharded.py runs: `jax_ranks.py PORT WORLD RANK`, four CPU devices each."""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import winit
import winit.jax
from winit.jax import initializers

PORT, WORLD, RANK = map(int, sys.argv[1:])
SEED = 5
failures = []


def check(right, *what):
    if not right:
        failures.append(what)


def same(array, whole):
    return all(np.asarray(each.data).tobytes() == whole[each.index].tobytes() for each in array.addressable_shards)


def main():
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{PORT}", WORLD, RANK)
    check(jax.device_count() == 4 * WORLD and jax.local_device_count() == 4, "devices", jax.device_count())
    tree = {
        "w": jax.ShapeDtypeStruct((24, 48), "float32"),
        "half": jax.ShapeDtypeStruct((48, 24), "bfloat16"),
        "turn": jax.ShapeDtypeStruct((24, 24), "float32"),
    }
    rules = [("turn", winit.orthogonal()), ("*", winit.he_normal())]
    whole = winit.jax.plan(tree, rules).build(seed=SEED)
    meshes = [
        jax.make_mesh((4 * WORLD,), ("x",)),
        jax.make_mesh((WORLD, 4), ("x", "y")),
        jax.make_mesh((4, WORLD), ("x", "y")),
        jax.make_mesh((2, WORLD, 2), ("x", "y", "z")),
    ]
    for mesh in meshes:
        for spec in (P("x"), P(None, "x"), P(), P(mesh.axis_names[-1], mesh.axis_names[0])):
            if len(mesh.axis_names) == 1 and len(spec) == 2 and spec[0] is not None:
                continue
            where = NamedSharding(mesh, spec)
            made = winit.jax.materialize(tree, rules, seed=SEED, shardings=where)
            noisy = winit.jax.add(made, winit.normal(), seed=1, name="step 0", scale=0.1)
            for name, array in made.items():
                check(same(array, whole[name]), RANK, mesh.shape, spec, name)
                sums = winit.add(whole[name].copy(), winit.normal(), seed=1, name=f"step 0/{name}", scale=0.1)
                check(same(noisy[name], sums), RANK, mesh.shape, spec, name, "noise")
            total = jax.jit(lambda w: (w * w).sum(), out_shardings=NamedSharding(mesh, P()))(made["w"])
            mine = float(total.addressable_data(0))
            check(abs(mine - float((whole["w"] ** 2).sum())) < 1e-2, "the sum over all processes", mine)
    only = NamedSharding(jax.sharding.Mesh(np.array(jax.devices()[:4]), ("x",)), P("x"))  # the first process' devices
    made = winit.jax.materialize(tree, rules, seed=SEED, shardings=only)
    check(len(made["w"].addressable_shards) == (4 if RANK == 0 else 0), "a mesh of one process")
    check(same(made["w"], whole["w"]), "a mesh of one process")
    init = initializers.he_normal()
    eager = init(jax.random.key(3), (8, 4))
    seed, name = winit.jax.key_stream(jax.random.key(3))
    check(same(eager, winit.draw(winit.presets.jax.he_normal(), (8, 4), seed=seed, name=name)), "eagerly")
    where = NamedSharding(meshes[0], P(None, "x"))
    inside = winit.jax.in_xla(init)
    made = jax.jit(lambda key: inside(key, (8, 8 * WORLD)), out_shardings=where)(jax.random.key(3))
    drawn = winit.draw(winit.presets.jax.he_normal(), (8, 8 * WORLD), seed=seed, name=name)
    check(same(made, drawn), "inside XLA")
    try:
        jax.jit(lambda key: init(key, (8, 4)))(jax.random.key(3))
        check(False, "a host callback ran on several processes")
    except ValueError as error:
        check("several processes" in str(error), str(error))
    for failure in failures[:10]:
        print("FAILED", *failure)
    jax.distributed.shutdown()
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
