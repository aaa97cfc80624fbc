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

class DefaultFloatMode:
    def __enter__(self) -> DefaultFloatMode: ...
    def __exit__(self, kind: object, error: object, trace: object) -> None: ...

def instruction_sets() -> tuple[str, ...]: ...
def words(isa: str, key: tuple[int, int], tag: int, lo: int, dest: Any) -> None: ...
