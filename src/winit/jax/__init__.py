"""JAX arrays and initialisers with winit's values: the same for every mesh, number of processes and order.

>>> import jax, winit, winit.jax
>>> abstract = {"fc": {"kernel": jax.ShapeDtypeStruct((784, 300), "float32")}}
>>> params = winit.jax.materialize(abstract, [("*.kernel", winit.he_normal())], seed=0)
"""

from winit.jax import initializers
from winit.jax.calling import in_xla
from winit.jax.keys import key_stream
from winit.jax.materializing import materialize, plan
from winit.jax.noise import add

__all__ = ["add", "in_xla", "initializers", "key_stream", "materialize", "plan"]


def __dir__() -> list[str]:
    return __all__
