from collections.abc import Mapping

__all__ = ["cut", "key"]

__pyx_capi__: Mapping[str, object]

def key(seed: int, name: str = "") -> int: ...
def cut(low: float = -2.0, high: float = 2.0, dtype: str = "float32") -> tuple[float, ...]: ...
