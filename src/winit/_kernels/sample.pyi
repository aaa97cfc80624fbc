from typing import Any

class Fill:
    size: int
    def __new__(
        cls,
        isa: str,
        law: int,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        dest: Any,
        start: int,
        steps: tuple[int, ...],
        scale: float | None = None,
    ) -> Fill: ...
    def run(self, lo: int, hi: int) -> None: ...

def fill_memory(
    isa: str, law: int, dtype: int, key: tuple[int, int], params: tuple[float, ...], address: int, size: int
) -> None: ...

class Sparse:
    size: int
    by_units: bool
    def __new__(
        cls,
        isa: str,
        dtype: int,
        key: tuple[int, int],
        params: tuple[float, ...],
        shape: tuple[int, ...],
        units: tuple[bool, ...],
        keep: int,
        dest: Any = None,
        begin: tuple[int, ...] | int | None = None,
        scale: float | None = None,
    ) -> Sparse: ...
    def run(self, lo: int, hi: int) -> None: ...
    def rows(self, first: int, last: int, unit_step: int, input_step: int, inputs: Any, values: Any) -> None: ...

class Start:
    def __new__(cls, room: int = 0) -> Start: ...
    def begin(self, helper: bool) -> None: ...
    def end(self) -> None: ...

class DefaultFloatMode:
    def __enter__(self) -> DefaultFloatMode: ...
    def __exit__(self, kind: object, error: object, trace: object) -> None: ...

def instruction_sets() -> tuple[str, ...]: ...
def words(isa: str, key: tuple[int, int], tag: int, lo: int, dest: Any) -> None: ...
