"""Memory that is not NumPy's: written in place to the bit through each protocol, refused before it is touched."""

import array
import ctypes
import gc
import mmap
import subprocess
import sys
import tracemalloc
import types
import weakref
from struct import pack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import winit
from winit._core import laws

NORMAL = winit.normal()
TENSOR = {"seed": 3, "name": "block.weight"}
HALVES = ("float16", "bfloat16")
DTYPES = ("float32", "float64", *HALVES)


def bits(values):
    """A NumPy array's bytes in row-major order."""
    return np.ascontiguousarray(values).tobytes()


def reject(error, match, out, **keywords):
    for function in (winit.fill, winit.add):
        with pytest.raises(error, match=match):
            function(out, **{"scheme": NORMAL, "seed": 0, **keywords})


# ---- a DLPack producer by hand


_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}


class Lender:
    """Lends an array as dlpack.h, 1.1, has it; fields may be given other values. Counts what it gets back."""

    name = b"dltensor_versioned"

    def __init__(self, memory, **changes):
        self.lent = self.returned = self.unread = self.asked = 0
        self.memory, self.keep = memory, {}
        self.fields = {
            "major": 1,
            "minor": 1,
            "flags": 0,
            "data": memory.ctypes.data if memory.size else 0,
            "device": 1,
            "code": _CODES[memory.dtype.kind],
            "bits": 8 * memory.itemsize,
            "lanes": 1,
            "strides": True,
            "offset": 0,
            **changes,
        }
        self._called = [ctypes.CFUNCTYPE(None, ctypes.c_void_p)(method) for method in (self.give_back, self.dropped)]
        self._deleter, self._destructor = (ctypes.cast(called, ctypes.c_void_p).value for called in self._called)

    def give_back(self, address):
        self.returned += 1
        del self.keep[address]

    def dropped(self, capsule):
        if _valid(capsule, self.name):
            self.unread += 1
            del self.keep[_pointer(capsule, self.name)]

    def __dlpack_device__(self):
        return (self.fields["device"], 0)

    def __dlpack__(self, *, max_version=None):
        self.asked += 1
        assert max_version == (1, 1)
        field, memory = self.fields, self.memory
        strides = [step // memory.itemsize for step in memory.strides]
        shape, strides = ((ctypes.c_int64 * memory.ndim)(*sizes) for sizes in (memory.shape, strides))
        managed = pack("@IIPPQ", field["major"], field["minor"], 0, self._deleter, field["flags"])
        managed += pack("@PiiiBBH", field["data"], field["device"], 0, memory.ndim, *map(field.get, KIND))
        managed += pack(
            "@PPQ", ctypes.addressof(shape), ctypes.addressof(strides) if field["strides"] else 0, field["offset"]
        )
        store = ctypes.create_string_buffer(managed, len(managed))
        self.keep[ctypes.addressof(store)] = store, shape, strides
        self.lent += 1
        return _capsule(ctypes.addressof(store), self.name, self._destructor)


KIND = ("code", "bits", "lanes")


class Unversioned(Lender):
    name = b"dltensor"


@given(st.data(), st.sampled_from(["float32", "float64", "float16"]))
def test_dlpack_of_any_strides(data, dtype):
    shape = tuple(data.draw(st.lists(st.integers(0, 5), max_size=4)))
    steps = [data.draw(st.sampled_from([1, 2, -1, -3])) for _ in shape]
    base = np.zeros([size * abs(step) for size, step in zip(shape, steps, strict=True)], dtype)
    view = base[(*(slice(None, None, step) for step in steps), ...)].transpose(
        data.draw(st.permutations(range(len(shape))))
    )
    lender = Lender(view)
    assert winit.fill(lender, NORMAL, **TENSOR) is lender
    expected = winit.draw(NORMAL, view.shape, **TENSOR, dtype=dtype)
    assert bits(view) == bits(expected)
    assert np.count_nonzero(base) <= view.size
    assert (lender.lent, lender.returned, lender.unread, lender.keep) == (1, 1, 0, {})


def test_dlpack_fields():
    """No strides: row-major. The offset is in bytes. Later minor versions and memory pinned for a device are fine."""
    expected = winit.draw(NORMAL, (3, 4), seed=0)
    for changes in ({"strides": False}, {"minor": 9}, {"device": 3}, {"device": 11}, {"flags": 4}):
        memory = np.zeros((3, 4), np.float32)
        winit.fill(Lender(memory, **changes), NORMAL, seed=0)
        assert bits(memory) == bits(expected)
    memory = np.zeros(20, np.float32)
    winit.fill(Lender(memory[:12].reshape(3, 4), offset=20), NORMAL, seed=0)
    assert not memory[:5].any() and not memory[17:].any() and bits(memory[5:17]) == bits(expected)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"flags": 1}, ValueError, "out must be writeable, and is read-only"),
        ({"flags": 2}, ValueError, "out exports a copy of its memory by DLPack"),
        ({"major": 2, "minor": 3}, ValueError, "out exports DLPack 2.3, and winit reads version 1"),
        ({"code": 3}, TypeError, "elements that NumPy does not have: DLPack's type 3 of 32 bits$"),
        ({"code": 8, "bits": 8}, TypeError, "DLPack's type 8 of 8 bits$"),
        ({"bits": 128}, TypeError, "DLPack's type 2 of 128 bits$"),
        ({"lanes": 4}, TypeError, "DLPack's type 2 of 32 bits x 4"),
        ({"code": 0}, TypeError, "floating-point values|add needs an|out must hold boolean .*, not int32"),
        ({"data": 0}, ValueError, r"out has no memory: its DLPack tensor of shape \(6,\) is at address 0"),
    ],
)
def test_dlpack_refused_after_it_was_asked(changes, error, match):
    memory = np.full(6, 7, np.float32)
    lender = Lender(memory, **changes)
    reject(error, match, lender)
    gc.collect()
    assert (memory == 7).all()
    assert (lender.lent, lender.returned, lender.unread, lender.keep) == (2, 2, 0, {})


def test_read_only_and_empty():
    reject(ValueError, "out must be writeable, and is read-only", Lender(np.zeros((0, 3), np.float32), flags=1))


@pytest.mark.parametrize("device", [2, 4, 8, 10, 13, 14])
def test_device_memory_is_not_asked_for(device):
    memory = np.full(6, 7, np.float32)
    lender = Lender(memory, device=device)
    reject(ValueError, f"out must be in the CPU's memory, and is on a device of DLPack's type {device}", lender)
    assert lender.asked == 0 and (memory == 7).all()


def test_a_tensor_that_turns_out_to_be_on_a_device():
    class Liar(Lender):
        def __dlpack_device__(self):
            return (1, 0)

    lender = Liar(np.full(6, 7, np.float32), device=2)
    reject(ValueError, "on a device of DLPack's type 2", lender)
    gc.collect()
    assert (lender.memory == 7).all() and lender.lent == lender.returned == 2


def test_cuda_array_interface():
    interface = {"shape": (6,), "typestr": "<f4", "data": (0x7F0000000000, False), "version": 3}
    out = types.SimpleNamespace(__cuda_array_interface__=interface)
    reject(ValueError, "out must be in the CPU's memory, and is on a CUDA device", out)


def test_dlpack_without_a_version():
    """It cannot say that it is read-only, so another protocol has to; the capsule is left as it came."""
    lender = Unversioned(np.full(6, 7, np.float32))
    reject(ValueError, "out, of type Unversioned, exports its memory by DLPack without a version.*NumPy array", lender)
    assert (lender.memory == 7).all() and (lender.lent, lender.returned, lender.unread) == (2, 0, 2)

    class Old:
        """As DLPack was before versions: no keywords but stream."""

        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, stream=None):
            return lender.__dlpack__(max_version=(1, 1))

    reject(ValueError, "out, of type Old, exports its memory by DLPack without a version", Old())
    both = Unversioned(np.full(6, 7, np.float32))
    both.__array_interface__ = both.memory.__array_interface__
    assert bits(winit.fill(both, NORMAL, seed=0).memory) == bits(winit.draw(NORMAL, 6, seed=0))


def test_numpy_knows_every_type_as_winit_does():
    """DLPack's codes: an array of each type goes there and back through the two readers."""
    for code in "?bhilqBHILQefdFD":
        memory = np.zeros(3, code)
        winit.fill(Lender(memory), winit.ones(), seed=0)
        assert (memory == 1).all()


# ---- torch


def words(tensor):
    """A torch tensor's bytes in row-major order."""
    import torch

    wide = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.contiguous().view(wide).numpy().tobytes()


VIEWS = {
    "whole": lambda t: t,
    "transposed": lambda t: t.t(),
    "columns": lambda t: t[:, 1::3],
    "offset": lambda t: t[2:, 4:7],
    "channels": lambda t: t.view(4, 3, 2, 5).permute(2, 0, 3, 1),
    "scalar": lambda t: t[3, 4],
    "empty": lambda t: t[:, :0],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch(dtype, view):
    torch = pytest.importorskip("torch")
    base = torch.zeros(12, 10, dtype=getattr(torch, dtype))
    out = VIEWS[view](base)
    assert winit.fill(out, NORMAL, **TENSOR) is out
    expected = winit.draw(NORMAL, tuple(out.shape), **TENSOR, dtype=dtype)
    assert words(out) == bits(expected)
    assert torch.count_nonzero(base) <= out.numel()
    winit.add(out, winit.uniform(), **TENSOR, scale=0.3)
    assert words(out) == bits(winit.add(expected, winit.uniform(), **TENSOR, scale=0.3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_boxes_and_threads(dtype):
    torch = pytest.importorskip("torch")
    shape, box = (1200, 900), (slice(100, 1100), slice(None, 850))
    whole = winit.draw(winit.he_normal(), shape, **TENSOR, dtype=dtype)
    out = torch.zeros(1000, 850, dtype=getattr(torch, dtype))
    winit.fill(out, winit.he_normal(), **TENSOR, shape=shape, box=box, threads=3)
    assert words(out) == bits(whole[box])
    flat = torch.zeros(5000, dtype=getattr(torch, dtype))
    winit.fill(flat, winit.he_normal(), **TENSOR, shape=shape, box=range(77, 5077))
    assert words(flat) == bits(whole.reshape(-1)[77:5077])


@pytest.mark.parametrize(
    "scheme", [winit.orthogonal(), winit.sparse(2), winit.literal([[0.5] * 4] * 6), winit.embedding(1, 2)], ids=repr
)
def test_every_kind_of_law_writes_torch_bfloat16(build, scheme):
    torch = pytest.importorskip("torch")
    out = torch.zeros(6, 4, dtype=torch.bfloat16)
    winit.add(winit.fill(out, scheme, **TENSOR), scheme, seed=8, scale=0.1)
    expected = winit.draw(scheme, (6, 4), **TENSOR, dtype="bfloat16")
    assert words(out) == bits(winit.add(expected, scheme, seed=8, scale=0.1))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "complex64", "complex128"])
def test_torch_types_that_hold_constants_alone(dtype):
    torch = pytest.importorskip("torch")
    out = torch.zeros(5, dtype=getattr(torch, dtype))
    reject(TypeError, "floating-point values|add needs an|out must hold boolean", out)
    assert not out.any() and (winit.fill(out, winit.ones(), seed=0) == 1).all()


def test_torch_refused():
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.full((6,), 7.0))
    for function in (winit.fill, winit.add):
        with pytest.raises(
            ValueError, match=r"Can't export tensors that require gradient.*pass out.detach\(\)"
        ) as info:
            function(parameter, NORMAL, seed=0)
        assert info.value.__cause__ is None
    assert (parameter == 7).all()
    winit.fill(parameter.detach(), NORMAL, seed=0)
    assert words(parameter.detach()) == bits(winit.draw(NORMAL, 6, seed=0))

    expanded = torch.full((1, 4), 7.0).expand(3, 4)
    reject(ValueError, r"out has elements that share memory \(shape \(3, 4\), strides \(0, 4\)\)", expanded)
    negative = torch.full((6,), 7, dtype=torch.complex64).conj().imag
    assert negative.is_neg()
    reject(ValueError, r"out is a torch tensor that negates what is in its memory", negative)
    assert (expanded == 7).all() and (negative == 0).all()
    reject(ValueError, "does not export its memory by DLPack: .*sparse|layout", torch.zeros(3, 3).to_sparse())
    reject(ValueError, "does not export its memory by DLPack: .*meta", torch.zeros(3, device="meta"))
    for other in (torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu):
        reject(TypeError, "elements that NumPy does not have", torch.zeros(3).to(other))
    reject(ValueError, r"out has shape \(6,\), expected \(2, 3\)", torch.zeros(6), shape=(2, 3))


WITHOUT_ML_DTYPES = """
import sys
sys.modules["ml_dtypes"] = None
import numpy as np, torch, winit
out = torch.zeros(4, 5, dtype=torch.bfloat16)
winit.add(winit.fill(out.t(), winit.normal(), seed=0), winit.normal(), seed=1, scale=0.5)
same = np.zeros((5, 4), np.uint16)
for function, more in ((winit.fill, {"seed": 0}), (winit.add, {"seed": 1, "scale": 0.5})):
    function(same, winit.normal(), dtype="bfloat16", **more)
print((out.t().contiguous().view(torch.int16).numpy().view(np.uint16) == same).all())
print(same.tobytes().hex())
"""


def test_bfloat16_without_ml_dtypes():
    pytest.importorskip("torch")
    done = subprocess.run([sys.executable, "-c", WITHOUT_ML_DTYPES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = winit.draw(NORMAL, (5, 4), seed=0, dtype="bfloat16")
    assert done.stdout.split() == ["True", bits(winit.add(expected, NORMAL, seed=1, scale=0.5)).hex()]


# ---- JAX


@pytest.mark.parametrize("dtype", DTYPES)
def test_jax_arrays_are_never_written(dtype):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        out = jax.numpy.full(6, 7, dtype)
        reject(ValueError, "read-only|does not export its buffer: .*BF16", out)
        assert (np.asarray(out, np.float64) == 7).all()


# ---- the buffer protocol


BUFFERS = {
    "array float": lambda: array.array("f", bytes(48)),
    "array double": lambda: array.array("d", bytes(96)),
    "ctypes": lambda: (ctypes.c_float * 12)(),
    "ctypes matrix": lambda: ((ctypes.c_double * 4) * 3)(),
    "ctypes scalar": lambda: ctypes.c_float(0),
    "cast": lambda: memoryview(bytearray(48)).cast("f"),
    "cast half": lambda: memoryview(np.zeros(12, np.float16)),
    "cast matrix": lambda: memoryview(bytearray(48)).cast("f", (3, 4)),
    "part": lambda: memoryview(bytearray(96)).cast("d")[2:9],
    "backwards": lambda: memoryview(bytearray(96)).cast("d")[::-2],
    "empty": lambda: array.array("f"),
    "mmap": lambda: memoryview(mmap.mmap(-1, 4096)).cast("f"),
}


@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
def test_buffers(make):
    out = make()
    seen = np.asarray(memoryview(out))
    assert winit.fill(out, NORMAL, **TENSOR) is out
    expected = winit.draw(NORMAL, seen.shape, **TENSOR, dtype=seen.dtype)
    assert bits(seen) == bits(expected)
    winit.add(out, NORMAL, seed=9, scale=-0.5)
    assert bits(seen) == bits(winit.add(expected, NORMAL, seed=9, scale=-0.5))


def test_bytes_are_integers():
    """A bytearray or an mmap holds uint8: constants go there, and random numbers after a cast."""
    for out in (bytearray(b"\7" * 24), mmap.mmap(-1, 4096)):
        before = bytes(out)
        reject(TypeError, "floating-point values|add needs an|out must hold boolean .*, not uint8", out)
        reject(TypeError, "add needs|is a Literal|values", out, scheme=NORMAL, shape=(len(out),))
        assert bytes(out) == before
        winit.fill(out, winit.ones(), seed=0)
        assert bytes(out) == b"\1" * len(out)


def test_boxes_in_buffers():
    whole = winit.draw(NORMAL, (5, 6), **TENSOR)
    out = memoryview(bytearray(24)).cast("f", (2, 3))
    winit.fill(out, NORMAL, **TENSOR, shape=(5, 6), box=(slice(1, 3), slice(2, 5)))
    assert out.tobytes() == bits(whole[1:3, 2:5])
    flat = array.array("f", bytes(40))
    winit.fill(flat, NORMAL, **TENSOR, shape=(5, 6), box=range(11, 21))
    assert flat.tobytes() == bits(whole.reshape(-1)[11:21])


class Pair(ctypes.Structure):
    _fields_ = (("a", ctypes.c_float), ("b", ctypes.c_int32))


FOREIGN = (ctypes.c_float.__ctype_be__ if sys.byteorder == "little" else ctypes.c_float.__ctype_le__) * 4


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: bytes(16), ValueError, "out must be writeable, and is read-only"),
        (lambda: memoryview(bytes(16)).cast("f"), ValueError, "out must be writeable, and is read-only"),
        (lambda: np.float32(7), ValueError, "out must be writeable, and is read-only"),
        (lambda: FOREIGN(), ValueError, "out must be in native byte order, not '[<>]f4'"),
        (lambda: (Pair * 3)(), TypeError, "floating-point values|add needs an|out must hold boolean"),
        (lambda: (ctypes.c_void_p * 3)(), TypeError, "elements that NumPy does not have: .*PEP 3118"),
        (
            lambda: (ctypes.c_char * 4)(),
            TypeError,
            "floating-point values|add needs an|out must hold boolean",
        ),
        (lambda: "0123", TypeError, "out must be a NumPy array or an object that speaks DLPack.*, not str"),
        (lambda: None, TypeError, "not NoneType"),
        (lambda: (1.0, 2.0), TypeError, "not tuple"),
    ],
)
def test_buffers_refused(make, error, match):
    out = make()
    before = bytes(memoryview(out)) if not isinstance(out, (str, tuple, type(None))) else out
    reject(error, match, out)
    assert before == (bytes(memoryview(out)) if isinstance(before, bytes) else out)


def test_a_released_memoryview():
    out = memoryview(bytearray(16)).cast("f")
    out.release()
    reject(ValueError, "out does not export its buffer: operation forbidden on released memoryview", out)


def test_only_array():
    """What __array__ gives may be a copy."""

    class Copies:
        def __array__(self, dtype=None, copy=None):
            raise AssertionError("not to be asked")

    reject(TypeError, "not Copies, whose __array__ may be a copy", Copies())
    pandas = types.SimpleNamespace(__array__=lambda: np.zeros(3))
    reject(TypeError, "whose __array__ may be a copy", pandas)


# ---- __array_interface__


class Interface:
    """An array seen through its __array_interface__ alone; entries may be given other values."""

    def __init__(self, memory, **changes):
        self.memory = memory
        self.__array_interface__ = {**memory.__array_interface__, **changes}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_array_interface(dtype):
    base = np.zeros((6, 8), dtype)
    out = Interface(base[::-2, 1:7:3].T)
    assert winit.fill(out, NORMAL, **TENSOR) is out
    expected = winit.draw(NORMAL, (2, 3), **TENSOR, dtype=dtype)
    assert bits(out.memory) == bits(expected) and np.count_nonzero(base) == 6
    winit.add(out, NORMAL, seed=1)
    assert bits(out.memory) == bits(winit.add(expected, NORMAL, seed=1))


def test_data_of_an_array_interface_by_buffer():
    store = bytearray(40)
    out = types.SimpleNamespace(
        __array_interface__={"version": 3, "shape": (2, 3), "typestr": "<f4", "data": store, "offset": 8}
    )
    if sys.byteorder == "little":
        winit.fill(out, NORMAL, seed=0)
        assert store == bytes(8) + bits(winit.draw(NORMAL, (2, 3), seed=0)) + bytes(8)
    out.__array_interface__["data"] = bytes(40)  # as PIL's images have it
    reject(ValueError, "out must be writeable, and is read-only", out)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"data": "read-only"}, ValueError, "out must be writeable, and is read-only"),
        ({"typestr": ">f4" if sys.byteorder == "little" else "<f4"}, ValueError, "out must be in native byte order"),
        ({"strides": (0,)}, ValueError, "out has elements that share memory"),
        ({"strides": (2,)}, ValueError, "out has elements that share memory"),
        ({"typestr": "|V4"}, TypeError, "floating-point values|add needs an|out must hold boolean"),
        ({"typestr": "|O8"}, TypeError, "floating-point values|add needs an|out must hold boolean"),
        ({"typestr": "<Q9"}, ValueError, "out has an __array_interface__ that NumPy does not read: "),
        ({"typestr": None}, ValueError, "out has an __array_interface__ that NumPy does not read: "),
    ],
)
def test_array_interface_refused(changes, error, match):
    memory = np.full(8, 7, np.float32)
    if "data" in changes:
        changes = {"data": (memory.ctypes.data, True)}
    reject(error, match, Interface(memory[:4], **changes))
    assert (memory == 7).all()


# ---- words of 16 bits


WORDS = {
    "array": lambda: np.zeros((3, 4), np.uint16),
    "strided": lambda: np.zeros((4, 6), np.uint16)[:, ::2].T,
    "void": lambda: np.zeros((3, 4), "V2"),
    "buffer": lambda: memoryview(bytearray(24)).cast("H", (3, 4)),
    "ctypes": lambda: ((ctypes.c_uint16 * 4) * 3)(),
    "interface": lambda: Interface(np.zeros((3, 4), np.uint16)),
    "void interface": lambda: Interface(np.zeros((3, 4), "V2")),
    "dlpack": lambda: Lender(np.zeros((3, 4), np.uint16)),
    "half by name": lambda: np.zeros((3, 4), np.float16),
}


@pytest.mark.parametrize("make", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("dtype", HALVES)
def test_sixteen_bit_words(make, dtype):
    out = make()
    seen = np.asarray(getattr(out, "memory", out))
    expected = winit.draw(NORMAL, (3, 4), **TENSOR, dtype=dtype)
    if seen.dtype == np.float16 and dtype == "bfloat16":
        reject(ValueError, "out holds float16, and dtype is 'bfloat16': only words of 16 bits", out, dtype=dtype)
        assert not seen.any()
        return
    assert winit.fill(out, NORMAL, **TENSOR, dtype=dtype) is out
    assert bits(seen) == bits(expected)
    winit.add(out, NORMAL, seed=2, scale=0.1, dtype=expected.dtype)
    assert bits(seen) == bits(winit.add(expected, NORMAL, seed=2, scale=0.1))


def test_words_of_torch():
    torch = pytest.importorskip("torch")
    out = torch.zeros(7, dtype=torch.uint16)
    winit.fill(out, NORMAL, seed=0, dtype="bfloat16")
    assert words(out) == bits(winit.draw(NORMAL, 7, seed=0, dtype="bfloat16"))
    half = torch.zeros(7, dtype=torch.bfloat16)
    assert words(winit.fill(half, NORMAL, seed=0, dtype="bfloat16")) == words(out)
    reject(ValueError, "out holds bfloat16, and dtype is 'float16': only words of 16 bits", half, dtype="float16")


@pytest.mark.parametrize(
    ("kind", "dtype", "error", "match"),
    [
        ("float32", "bfloat16", ValueError, "out holds float32, and dtype is 'bfloat16'"),
        ("float32", np.float64, ValueError, "out holds float32, and dtype is 'float64'"),
        ("uint32", "float32", ValueError, "out holds uint32, and dtype is 'float32'"),
        ("uint16", "int16", ValueError, "out holds uint16, and dtype is 'int16': only words of 16 bits"),
        ("int16", "bfloat16", ValueError, "out holds int16, and dtype is 'bfloat16'"),
        ("uint16", "float8_e5m2", ValueError, "out holds uint16, and dtype is 'float8_e5m2': .* words of 8 bits"),
        ("int8", "float8_e4m3fn", ValueError, "out holds int8, and dtype is 'float8_e4m3fn'"),
        ("bool", "float8_e4m3fn", ValueError, "out holds bool, and dtype is 'float8_e4m3fn'"),
        ("uint8", "bfloat16", ValueError, "out holds uint8, and dtype is 'bfloat16'"),
        ("V4", "bfloat16", ValueError, "out holds void32, and dtype is 'bfloat16'"),
        ([("a", "u1"), ("b", "u1")], "bfloat16", ValueError, "out holds void16, and dtype is 'bfloat16'"),
        (
            "uint16",
            "bf15",
            TypeError,
            "dtype must be float32, .*, bfloat16, float8_e4m3fn, float8_e5m2 or a NumPy dtype, not 'bf15'",
        ),
        ("uint16", ">f2", ValueError, "dtype must be in native byte order"),
        (
            "uint16",
            None,
            TypeError,
            "floating-point values|add needs an|out must hold boolean .*, not uint16",
        ),
    ],
)
def test_dtypes_that_out_does_not_hold(kind, dtype, error, match):
    if dtype == ">f2" and sys.byteorder == "big":
        dtype = "<f2"
    out = np.zeros(4, kind)
    reject(error, match, out, dtype=dtype)
    assert not any(out.tobytes())


@pytest.mark.parametrize("dtype", DTYPES)
def test_outs_own_dtype_changes_nothing(dtype):
    expected = winit.draw(NORMAL, 9, seed=0, dtype=dtype)
    for given_dtype in (dtype, expected.dtype):
        assert bits(winit.fill(np.zeros_like(expected), NORMAL, seed=0, dtype=given_dtype)) == bits(expected)
    ones = np.zeros(3, np.int64)
    assert (winit.fill(ones, winit.ones(), seed=0, dtype="int64") == 1).all()


# ---- how long memory is held


def test_exports_end_with_the_call():
    out = bytearray(48)
    winit.fill(memoryview(out).cast("f"), NORMAL, seed=0)
    winit.fill(out, winit.ones(), seed=0)
    out.append(0)
    with pytest.raises(TypeError):
        winit.fill(out, NORMAL, seed=0)
    out.append(0)
    numbers = array.array("f", [0.0] * 4)
    winit.add(numbers, NORMAL, seed=0)
    numbers.append(1.0)
    mapped = mmap.mmap(-1, 4096)
    winit.fill(mapped, winit.ones(), seed=0)
    mapped.close()


class Watched:
    """A bound fill that notes, before and after it runs, how often the lender has its memory back."""

    def __init__(self, bound, lender, seen):
        self.bound, self.lender, self.seen, self.size = bound, lender, seen, bound.size

    def run(self, lo, hi):
        self.seen.append(self.lender.returned)
        self.bound.run(lo, hi)
        self.seen.append(self.lender.returned)


def test_memory_is_held_while_it_is_written(monkeypatch):
    """The lender gets it back after the last range, when the call ends, not before."""
    lender, seen = Lender(np.zeros(6, np.float32)), []
    bind = laws.Normal.bind
    monkeypatch.setattr(laws.Normal, "bind", lambda law, to: Watched(bind(law, to), lender, seen))
    winit.fill(lender, NORMAL, seed=0)
    assert seen == [0, 0] and lender.returned == 1


def test_nothing_is_kept():
    """What lends memory can go as soon as the call is over."""
    for make in (
        lambda: Interface(np.zeros(6, np.float32)),
        lambda: (ctypes.c_float * 6)(),
        lambda: Lender(np.zeros(6, np.float32)),
    ):
        out = make()
        alive = weakref.ref(out)
        winit.fill(out, NORMAL, seed=0)
        del out
        gc.collect()  # the lender's own cycles
        assert alive() is None


@pytest.mark.parametrize("what", ["dlpack", "refused", "unversioned", "buffer", "interface", "torch"])
def test_ten_thousand_times(what):
    memory = np.zeros(4, np.float32)
    if what == "torch":
        out = pytest.importorskip("torch").zeros(4).bfloat16()
    else:
        make = {"dlpack": Lender, "refused": Lender, "unversioned": Unversioned, "interface": Interface}
        out = make.get(what, memoryview)(memory)

    def call(times):
        for _ in range(times):
            try:
                winit.fill(out, NORMAL, seed=0, shape=(5,) if what == "refused" else None)
            except ValueError:
                assert what in ("refused", "unversioned")

    call(100)
    references = sys.getrefcount(out), sys.getrefcount(memory)
    gc.collect()
    gc.disable()  # no cycles either
    tracemalloc.start()
    try:
        call(100)
        before = tracemalloc.get_traced_memory()[0]
        call(10_000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
        gc.enable()
    assert grown < 200_000, grown  # an object a call would be 480 kB at least; the free lists are some 90
    assert (sys.getrefcount(out), sys.getrefcount(memory)) == references
    if isinstance(out, Lender):
        assert out.lent == out.returned + out.unread == 10_200 and not out.keep
