"""Tensors with a structure: identities, Hadamard matrices, mirrored blocks, spectra, gates and state spaces."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from winit._core.laws import Moments, integer, not_negative, real
from winit._core.portable import cosines, exp, log, log_of_expm1
from winit._core.shapes import Layout, roles
from winit.schemes.base import WholeScheme
from winit.schemes.fan_scaled import uniform
from winit.schemes.rotations import Kernel, convolution, orthonormal

if TYPE_CHECKING:
    from winit._core.drawing import Stream

__all__ = [
    "chrono_bias",
    "dirac",
    "hadamard",
    "identity",
    "idinit",
    "irnn",
    "looks_linear",
    "lstm_bias",
    "mamba_a_log",
    "mamba_dt_bias",
    "stft",
]

UNIFORM = uniform()


def _positive(value: Any, what: str) -> float:
    number = real(value, what)
    if number <= 0:
        raise ValueError(f"{what} must be positive, not {number!r}")
    return number


def _matrix(scheme: WholeScheme, shape: tuple[int, ...], layout: Layout) -> tuple[int, int]:
    """Tell the out axis and the in axis of a matrix."""
    _, ins, outs, _ = roles(shape, layout)
    if len(shape) != 2 or len(ins) != 1 or len(outs) != 1 or ins == outs:
        raise ValueError(f"{type(scheme).__name__} fills matrices (out, in), not shape {shape} in layout {layout!r}")
    return next(iter(outs)), next(iter(ins))


class Entries(NamedTuple):
    """What of a tensor is not 0: index arrays, one for each axis, and the values there, one for all or one each."""

    where: tuple[Any, ...]
    values: Any


class _Table(WholeScheme):
    """A tensor that is known without a stream: `entries` gives what of it is not 0."""

    __slots__ = ()

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        raise NotImplementedError

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        self.entries(shape, layout)

    def values(self, stream: Stream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        where, values = self.entries(shape, layout)
        whole = np.zeros(shape, stream.dtype)
        whole[where] = values
        return whole

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        where, values = self.entries(shape, layout)
        found = np.broadcast_to(
            np.asarray(values, np.float64), np.broadcast_shapes(*(np.shape(axis) for axis in where))
        )
        size, flat = math.prod(shape), found.ravel()
        if size == 0:
            return Moments(0.0, 0.0, 0.0, 0.0)
        mean = math.fsum(flat) / size
        zeros = size - flat.size
        variance = (math.fsum(np.square(flat - mean)) + zeros * mean * mean) / size
        ends = [float(flat.min()), float(flat.max())] if flat.size else []
        ends += [0.0] if zeros else []
        return Moments(mean, math.sqrt(variance), min(ends), max(ends))


class identity(_Table):
    """Fill a matrix with gain on its main diagonal and 0 elsewhere.

    Parameters
    ----------
    gain : float.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of other than two axes.

    Source: torch.nn.init.eye_; keras.initializers.Identity.

    >>> import winit
    >>> winit.draw(winit.identity(), (2, 3), seed=0).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    """

    __slots__ = ("gain",)
    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        self._set(real(gain, "gain"))

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        _matrix(self, shape, layout)
        diagonal = np.arange(min(shape))
        return Entries((diagonal, diagonal), self.gain)


class irnn(_Table):
    """Fill the recurrent matrix of a ReLU network with scale times the identity, so that its state is kept.

    Parameters
    ----------
    scale : float. 1 as published; 0.01 for short memories.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape that is no square.

    Source: Le, Jaitly & Hinton 2015 (arXiv 1504.00941), section 3; its biases are 0.

    >>> import winit
    >>> winit.draw(winit.irnn(0.5), (2, 2), seed=0).tolist()
    [[0.5, 0.0], [0.0, 0.5]]

    """

    __slots__ = ("scale",)
    scale: float

    def __init__(self, scale: float = 1.0) -> None:
        self._set(real(scale, "scale"))

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        _matrix(self, shape, layout)
        if shape[0] != shape[1]:
            raise ValueError(f"irnn fills square matrices, not shape {shape}")
        diagonal = np.arange(shape[0])
        return Entries((diagonal, diagonal), self.scale)


class dirac(_Table):
    """Fill a convolution kernel so that it passes its first channels on: 1 at the centre from channel i to channel i.

    The centre is index k // 2 of each spatial axis, and as many channels are kept as there are on the smaller side.
    With `groups`, each group of out-channels passes on the in-channels of its own.

    Parameters
    ----------
    groups : int. Groups of the convolution; they divide the out-channels.
    gain : float.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of other than 3 to 5 axes, groups that
        do not divide its channels.

    Source: torch.nn.init.dirac_.

    >>> import winit
    >>> winit.draw(winit.dirac(), (2, 2, 3), seed=0).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]

    """

    __slots__ = ("gain", "groups")
    groups: int
    gain: float

    def __init__(self, groups: int = 1, gain: float = 1.0) -> None:
        self._set(integer(groups, "groups", 1), real(gain, "gain"))

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        kernel = convolution(self, shape, layout)
        out, in_ = shape[kernel.out], shape[kernel.in_]
        if out % self.groups:
            raise ValueError(f"groups={self.groups} does not divide the {out} channels along out ({shape})")
        each = out // self.groups
        kept = np.arange(min(each, in_))
        outs = (np.arange(self.groups)[:, None] * each + kept).ravel()
        return Entries(_centre(shape, kernel, outs, np.tile(kept, self.groups)), self.gain)


def _centre(shape: tuple[int, ...], kernel: Kernel, outs: np.ndarray, ins: np.ndarray) -> tuple[Any, ...]:
    """Index the centre tap k // 2 of a kernel's channels."""
    where: list[Any] = [size // 2 for size in shape]
    where[kernel.out], where[kernel.in_] = outs, ins
    return (
        tuple(np.broadcast_to(np.asarray(index), outs.shape) for index in where) if outs.size else (outs,) * len(shape)
    )


class hadamard(_Table):
    """Fill with zeros and ones alone (ZerO): a partial identity, or where units outnumber inputs a Hadamard transform.

    out <= in: the identity, cut. out > in: the first rows and columns of H / sqrt(p), H the Hadamard matrix of order p,
    the power of two at or above out: H_ij = (-1)^(number of ones in i & j). Convolutions have it at their centre tap
    k // 2. Networks of any width then train without a random number, starting from low rank.

    Raises
    ------
    ValueError : when drawn, a shape of fewer than two axes.

    Source: Zhao, Schäfer & Anandkumar 2022, "ZerO initialization" (arXiv 2110.12661), algorithms 1 and 2.

    >>> import winit
    >>> winit.draw(winit.hadamard(), (4, 2), seed=0).tolist()
    [[0.5, 0.5], [0.5, -0.5], [0.5, 0.5], [0.5, -0.5]]

    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def _kernel(self, shape: tuple[int, ...], layout: Layout) -> Kernel:
        return Kernel(*_matrix(self, shape, layout)) if len(shape) == 2 else convolution(self, shape, layout)

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        self._kernel(shape, layout)

    def reach(self, shape: tuple[int, ...], layout: Layout) -> float:
        return 1.0

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        kernel = self._kernel(shape, layout)
        out, in_ = shape[kernel.out], shape[kernel.in_]
        values: Any = 1.0
        if out <= in_:
            kept = np.arange(out)
            where = kept, kept
        else:
            i, j = np.repeat(np.arange(out), in_), np.tile(np.arange(in_), out)
            ones = i & j
            for half in (32, 16, 8, 4, 2, 1):
                ones ^= ones >> half
            where = i, j
            values = (1.0 - 2.0 * (ones & 1)) / math.sqrt(1 << (out - 1).bit_length())
        if len(shape) == 2:
            return Entries(where if kernel.out == 0 else where[::-1], values)
        return Entries(_centre(shape, kernel, *where), values)


class idinit(_Table):
    """Fill with identities side by side: `value` where unit and input are equal modulo the fewer of the two.

    The inputs of a convolution's unit are its channels and receptive field together, channels first, so that units of a
    layer see different places ("patch-maintain"). value=1e-6 is the form for the last layer of a residual branch.

    Parameters
    ----------
    value : float. 1 keeps the signal; 1e-6 all but silences it, without dead units.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape of fewer than two axes, batch axes.

    Source: Pan et al. 2025, "IDInit" (arXiv 2503.04626).

    >>> import winit
    >>> winit.draw(winit.idinit(), (2, 5), seed=0).tolist()
    [[1.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0, 0.0]]

    """

    __slots__ = ("value",)
    value: float

    def __init__(self, value: float = 1.0) -> None:
        self._set(real(value, "value"))

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        _, ins, outs, batches = roles(shape, layout)
        if batches or len(outs) != 1 or len(ins) != 1 or ins == outs:
            raise ValueError(f"idinit needs one out and one in axis and no batch, not {layout!r}")
        (out,), (in_,) = outs, ins
        spatial = [axis for axis in range(len(shape)) if axis not in (out, in_)]
        inner = [shape[axis] for axis in (in_, *spatial)]
        units, inputs = shape[out], math.prod(inner)
        if not units * inputs:
            return Entries(tuple(np.empty(0, np.int64) for _ in shape), self.value)
        few = min(units, inputs)
        i = np.arange(max(units, inputs))
        unit, input_ = (i % few, i) if units <= inputs else (i, i % few)
        where: list[Any] = [None] * len(shape)
        where[out] = unit
        for axis, index in zip((in_, *spatial), np.unravel_index(input_, inner), strict=True):
            where[axis] = index
        return Entries(tuple(where), self.value)


class looks_linear(WholeScheme):
    """Draw mirrored blocks of an orthogonal matrix, so that a ReLU network starts as a linear one.

    W = [[U, -U], [-U, U]], U orthogonal times gain: with ReLU, U relu(z) - U relu(-z) = U z. `mirror="out"` is the
    first layer's [[U], [-U]], "in" the last one's [U, -U]. Convolutions have it at their centre tap k // 2.

    Parameters
    ----------
    gain : float >= 0.
    mirror : "both", "out" or "in".

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, odd channels where they are mirrored.

    Source: Balduzzi et al. 2017, "The shattered gradients problem" (arXiv 1702.08591).

    >>> import numpy as np, winit
    >>> w1 = winit.draw(winit.looks_linear(mirror="out"), (8, 3), seed=0, name="1")
    >>> w2 = winit.draw(winit.looks_linear(mirror="in"), (2, 8), seed=0, name="2")
    >>> x = np.array([[1.0, -2.0, 0.5]], np.float32)
    >>> bool(np.allclose(np.maximum(x @ w1.T, 0) @ w2.T, x @ (w2[:, :4] @ w1[:4]).T, atol=1e-6))
    True

    """

    __slots__ = ("gain", "mirror")
    gain: float
    mirror: str

    def __init__(self, gain: float = 1.0, mirror: str = "both") -> None:
        number = not_negative(gain, "gain")
        if not isinstance(mirror, str):
            raise TypeError(f"mirror must be a str, not {type(mirror).__name__}")
        if mirror not in ("both", "out", "in"):
            raise ValueError(f"mirror must be 'both', 'out' or 'in', not {mirror!r}")
        self._set(number, mirror)

    def _blocks(self, shape: tuple[int, ...], layout: Layout) -> tuple[Kernel, int, int]:
        """The kernel's axes, and the units and inputs of a block."""
        kernel = Kernel(*_matrix(self, shape, layout)) if len(shape) == 2 else convolution(self, shape, layout)
        sizes = []
        for axis, role in ((kernel.out, "out"), (kernel.in_, "in")):
            if self.mirror in ("both", role) and shape[axis] % 2:
                raise ValueError(f"{self!r} needs an even number of channels {role}, not {shape[axis]} ({shape})")
            sizes.append(shape[axis] // (2 if self.mirror in ("both", role) else 1))
        return kernel, sizes[0], sizes[1]

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        self._blocks(shape, layout)

    def values(self, stream: Stream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        kernel, out, in_ = self._blocks(shape, layout)
        whole = np.zeros(shape, stream.dtype)
        if whole.size == 0:
            return whole
        block = orthonormal(stream, out, in_, self.gain)
        if self.mirror in ("both", "out"):
            block = np.concatenate([block, -block])
        if self.mirror in ("both", "in"):
            block = np.concatenate([block, -block], axis=1)
        centre: list[Any] = [size // 2 for size in shape]
        centre[kernel.out] = centre[kernel.in_] = slice(None)
        whole[tuple(centre)] = block if kernel.out < kernel.in_ else block.T
        return whole

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        kernel, out, in_ = self._blocks(shape, layout)
        taps = math.prod(shape) // max(shape[kernel.out] * shape[kernel.in_], 1)
        std = self.gain / math.sqrt(max(out, in_, 1) * max(taps, 1))
        return Moments(0.0, std, -self.gain, self.gain)


_WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46), "blackman": (0.42, 0.5, 0.08), "boxcar": (1.0,)}


class stft(_Table):
    """Fill a one-dimensional convolution with a windowed Fourier basis, the real or the imaginary side.

    kernel[t, f] = w_t cos(2 pi t f / F) / s, or -w_t sin(2 pi t f / F) / s, for t < T and f <= F / 2, F being twice the
    number of out-channels less one; s is sqrt(sum w^2) for "density", sum |w| for "spectrum".

    Parameters
    ----------
    side : "real" or "imag".
    window : "hann", "hamming", "blackman", "boxcar", a sequence of T numbers, or None for no window and no scaling.
    scaling : "density", "spectrum" or None.
    periodic : bool. The window as a period of a periodic function, rather than symmetric.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape that is not one in-channel along one
        spatial axis, or one out-channel alone.

    Source: keras.initializers.STFTInitializer; windows as scipy.signal.windows.

    >>> import winit
    >>> winit.draw(winit.stft(window=None), (4, 1, 3), seed=0, layout="io")[:, 0].T.tolist()
    [[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, -1.0, 0.0], [1.0, -1.0, 1.0, -1.0]]

    """

    __slots__ = ("periodic", "scaling", "side", "window")
    side: str
    window: str | tuple[float, ...] | None
    scaling: str | None
    periodic: bool

    def __init__(
        self,
        side: str = "real",
        window: str | Sequence[float] | None = "hann",
        scaling: str | None = "density",
        periodic: bool = False,
    ) -> None:
        if side not in ("real", "imag"):
            raise ValueError(f"side must be 'real' or 'imag', not {side!r}")
        if isinstance(window, str):
            if window not in _WINDOWS:
                raise ValueError(
                    f"window must be one of {', '.join(map(repr, _WINDOWS))}, numbers or None, not {window!r}"
                )
        elif window is not None:
            if not isinstance(window, Iterable):
                raise TypeError(
                    f"window must be one of {', '.join(map(repr, _WINDOWS))}, numbers or None, not {window!r}"
                )
            window = tuple(real(w, "window") for w in window)
        if scaling not in ("density", "spectrum", None):
            raise ValueError(f"scaling must be 'density', 'spectrum' or None, not {scaling!r}")
        if not isinstance(periodic, (bool, np.bool_)):
            raise TypeError(f"periodic must be a bool, not {periodic!r}")
        self._set(side, window, scaling, bool(periodic))

    def _window(self, length: int) -> np.ndarray | None:
        if self.window is None:
            return None
        if isinstance(self.window, tuple):
            if len(self.window) != length:
                raise ValueError(f"the window has {len(self.window)} numbers, the kernel {length}")
            return np.array(self.window)
        if length == 1:
            return np.ones(1)
        turns = length if self.periodic else length - 1
        angle = np.arange(length)
        total = np.zeros(length)
        for k, coefficient in enumerate(_WINDOWS[self.window]):
            total += (-1) ** k * coefficient * cosines(turns)[k * angle % turns]
        return total

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        _, ins, outs, _ = roles(shape, layout)
        if len(shape) != 3 or len(ins) != 1 or len(outs) != 1 or ins == outs or shape[next(iter(ins))] != 1:
            raise ValueError(f"stft fills kernels of one channel in and one spatial axis, not {shape} in {layout!r}")
        (out,), (in_,) = outs, ins
        (along,) = {0, 1, 2} - {out, in_}
        length, bands = shape[along], shape[out]
        if bands < 2:
            raise ValueError(f"stft needs at least 2 channels out, F / 2 + 1 for F frequencies, not {bands} ({shape})")
        count = 2 * (bands - 1)
        t, f = np.repeat(np.arange(length), bands), np.tile(np.arange(bands), length)
        # -sin x = cos(x + a quarter turn), taken among 4 F angles so that a quarter is whole
        values = cosines(4 * count)[(4 * (t * f % count) + (count if self.side == "imag" else 0)) % (4 * count)]
        window = self._window(length)
        if window is not None:
            scale = 1.0
            if self.scaling == "density":
                scale = math.sqrt(math.fsum(np.square(window)))
            elif self.scaling == "spectrum":
                scale = math.fsum(np.abs(window))
            if scale == 0:
                raise ValueError(f"the window of {length} numbers is 0 everywhere, and cannot be scaled")
            values = values * window[t] / scale
        where: list[Any] = [None] * 3
        where[along], where[out], where[in_] = t, f, np.zeros_like(t)
        return Entries(tuple(where), values)


def _gates(scheme: WholeScheme, shape: tuple[int, ...]) -> int:
    """Tell the units of a bias of four gates."""
    if len(shape) != 1 or shape[0] % 4:
        raise ValueError(
            f"{type(scheme).__name__} fills the bias of an LSTM's four gates, (4 units,), not shape {shape}"
        )
    return shape[0] // 4


class lstm_bias(_Table):
    """Fill the bias of an LSTM with 0 but for its forget gates, which start open.

    Gates lie in the order input, forget, cell, output: torch's, Keras's and Flax's. torch adds two biases, bias_ih and
    bias_hh: give this to one of them, zeros to the other.

    Parameters
    ----------
    forget : float. The forget gates' bias.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape other than (4 units,).

    Source: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015; keras.layers.LSTM, unit_forget_bias.

    >>> import winit
    >>> winit.draw(winit.lstm_bias(), 8, seed=0).tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]

    """

    __slots__ = ("forget",)
    forget: float

    def __init__(self, forget: float = 1.0) -> None:
        self._set(real(forget, "forget"))

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        units = _gates(self, shape)
        return Entries((np.arange(units, 2 * units),), self.forget)


class chrono_bias(WholeScheme):
    """Draw the bias of an LSTM that is to remember for up to max_steps steps.

    Forget gates log u, u from U(1, max_steps - 1); input gates the negative of the same unit's forget gate; cell and
    output 0. Gates lie in the order input, forget, cell, output.

    Parameters
    ----------
    max_steps : int > 2. The longest dependency expected, in steps.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value; when drawn, a shape other than (4 units,).

    Source: Tallec & Ollivier 2018, "Can recurrent neural networks warp time?" (arXiv 1804.11188).

    >>> import winit
    >>> b = winit.draw(winit.chrono_bias(100), 8, seed=0)
    >>> bool((b[:2] == -b[2:4]).all() and (b[2:4] >= 0).all()), b[4:].tolist()
    (True, [0.0, 0.0, 0.0, 0.0])

    """

    __slots__ = ("max_steps",)
    max_steps: int

    def __init__(self, max_steps: int) -> None:
        self._set(integer(max_steps, "max_steps", 3))

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        _gates(self, shape)

    def values(self, stream: Stream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        units = _gates(self, shape)
        u = stream.draw(UNIFORM, (units,)).astype(np.float64)
        forget = log(1 + (self.max_steps - 2) * u)
        return np.concatenate([-forget, forget, np.zeros(2 * units)]).astype(stream.dtype)

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        end = self.max_steps - 1
        far = math.log(end)
        # E log^2 u, u uniform on (1, end), over the half of the gates that is not 0
        square = (end * (far * far - 2 * far + 2) - 2) / (end - 1)
        return Moments(0.0, math.sqrt(square / 2), -far, far)


class mamba_a_log(_Table):
    """Fill the log of a state-space model's decay rates: log(1), log(2), ..., log(N) along the last axis.

    Raises
    ------
    ValueError : when drawn, a scalar.

    Source: Gu & Dao 2023, "Mamba" (arXiv 2312.00752), section 3.6 (S4D-Real); transformers' MambaMixer.

    >>> import winit
    >>> winit.draw(winit.mamba_a_log(), (1, 3), seed=0).tolist()
    [[0.0, 0.6931471824645996, 1.0986123085021973]]

    """

    __slots__ = ()

    def __init__(self) -> None:
        self._set()

    def entries(self, shape: tuple[int, ...], layout: Layout) -> Entries:
        if not shape:
            raise ValueError("mamba_a_log needs an axis to count along, not a scalar")
        return Entries(
            tuple(np.ogrid[tuple(slice(size) for size in shape)]), log(np.arange(1, shape[-1] + 1, dtype=np.float64))
        )


class mamba_dt_bias(WholeScheme):
    """Draw the bias whose softplus is a step size dt, log-uniform on [low, high]: b = dt + log(1 - e^-dt).

    Parameters
    ----------
    low, high : float, 0 < low < high < 700. Ends of dt.
    floor : float >= 0. Steps below it are set to it.

    Raises
    ------
    TypeError, ValueError : the wrong kind, the wrong value.

    Source: Gu & Dao 2023, "Mamba" (arXiv 2312.00752), section 3.6; transformers' MambaMixer (dt_init_floor).

    >>> import numpy as np, winit
    >>> dt = np.logaddexp(0, winit.draw(winit.mamba_dt_bias(), 1000, seed=0, dtype="float64"))
    >>> bool(0.001 <= dt.min() < 0.0011 and 0.09 < dt.max() <= 0.1)
    True

    """

    __slots__ = ("floor", "high", "low")
    low: float
    high: float
    floor: float

    def __init__(self, low: float = 0.001, high: float = 0.1, floor: float = 1e-4) -> None:
        low, high, floor = _positive(low, "low"), _positive(high, "high"), real(floor, "floor")
        if not low < high:
            raise ValueError(f"low must be less than high, not {low!r} and {high!r}")
        if not (low > 1e-300 and high < 700 and 0 <= floor < 700):
            raise ValueError(
                f"step sizes must be between 1e-300 and 700, not low={low!r}, high={high!r}, floor={floor!r}"
            )
        self._set(low, high, floor)

    def check(self, shape: tuple[int, ...], layout: Layout) -> None:
        pass

    def _steps(self, u: np.ndarray) -> np.ndarray:
        low, high = log(np.array([self.low, self.high]))
        return np.maximum(np.clip(exp(low + (high - low) * u), self.low, self.high), self.floor)

    def values(self, stream: Stream, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
        u = stream.draw(UNIFORM, shape).astype(np.float64)
        return log_of_expm1(self._steps(u)).astype(stream.dtype)

    def whole_moments(self, shape: tuple[int, ...], layout: Layout) -> Moments:
        """By Gauss-Legendre quadrature in u on both sides of the floor."""
        ends = log_of_expm1(self._steps(np.array([0.0, 1.0])))
        low, high = log(np.array([self.low, self.high]))
        kink = min(max((math.log(self.floor) - low) / (high - low), 0.0), 1.0) if self.floor > 0 else 0.0
        nodes, weights = np.polynomial.legendre.leggauss(100)
        points = kink + (1 - kink) * (nodes + 1) / 2
        values, share = log_of_expm1(self._steps(points)), (1 - kink) * weights / 2
        mean = float((values * share).sum() + kink * ends[0])
        variance = float((np.square(values - mean) * share).sum() + kink * (ends[0] - mean) ** 2)
        return Moments(mean, math.sqrt(variance), float(ends[0]), float(ends[1]))
