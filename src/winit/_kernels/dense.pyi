from typing import Any

class Sampled:
    shape: tuple[int, int]
    def __new__(
        cls,
        isa: str,
        law: int,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        shape: tuple[int, int],
        transposed: bool = False,
    ) -> Sampled: ...

class Gradient:
    shape: tuple[int, int]
    def __new__(
        cls, isa: str, grad: Any, activation: int, param: float, kept: Any, sums: Any, transposed: bool = False
    ) -> Gradient: ...
    def add_up(self, i: int) -> None: ...

class Product:
    tasks: int
    threads: int
    def __new__(
        cls,
        isa: str,
        a: Any,
        b: Any,
        c: Any,
        threads: int,
        *,
        exact: bool = False,
        add: bool = False,
        activation: int | None = None,
        param: float = 0.0,
        bias: Any = None,
        kept: Any = None,
        moments: Any = None,
        saturated: float = 0.0,
    ) -> Product: ...
    @property
    def zeros(self) -> int: ...
    @property
    def saturations(self) -> int: ...
    def run(self, limit: int) -> int: ...

def activate(isa: str, activation: int, param: float, src: Any, dest: Any, wide: bool, derive: bool) -> None: ...
def measure(isa: str, y: Any, start: int, lengths: Any, sums: Any) -> int: ...
def reflectors(v: Any, half: Any, sign: Any) -> None: ...
def triangle(gram: Any, half: Any, to: Any, work: Any) -> None: ...
