"""Which initialisation trains better? The same networks, data and steps, over schemes, activations and seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from winit._core.checks import (
    check_bool,
    check_integer,
    check_not_negative,
    check_number,
    check_one_of,
    items_of,
    shown,
)
from winit._core.scheme import Scheme, check_scheme
from winit.activations import Activation
from winit.activations import activation as as_activation
from winit.lab.network import NORMS, Network, array_of, check_learning_rate
from winit.lab.penalties import L2SP
from winit.lab.tables import Table
from winit.lab.training import SGD, Adam, accuracy, check_share, train
from winit.lab.units import check_labels

__all__ = ["Comparison", "Data", "compare", "digits", "named_schemes"]


class Data(NamedTuple):
    """Samples to train on and samples that are held out, with their labels."""

    x: np.ndarray
    labels: np.ndarray
    held_x: np.ndarray
    held_labels: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """What compare found.

    runs : Table, a row a run. summary : Table, a row for each scheme and activation, means and stds over seeds.
    curves : for each scheme and activation, the losses of each seed's steps.
    """

    runs: Table
    summary: Table
    curves: dict[tuple[str, str], list[list[float]]]

    def __str__(self) -> str:
        return str(self.summary)

    def _repr_html_(self) -> str:
        return self.summary._repr_html_()


class _Run(NamedTuple):
    """One run, as it is handed to a process."""

    scheme: str
    drawn: Scheme
    activation: Activation
    widths: tuple[int, ...]
    bias: Scheme | None
    seed: int
    data: Data
    steps: int
    batch: int
    residual: bool
    norm: str | None
    optimiser: SGD | Adam
    dropout: float
    l2sp: float
    target: float
    threads: int | None


def digits(held_out: float = 0.25) -> Data:
    """Return scikit-learn's bundled digits, 1,797 images of 8 x 8, standardised; every fourth sample is held out.

    Parameters
    ----------
    held_out : float in (0, 1). The share that is held out: every round(1 / held_out)-th sample.

    Raises
    ------
    ImportError : scikit-learn is not installed.

    Source: the UCI ML hand-written digits datasets, as scikit-learn ships them.

    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("the digits come with scikit-learn: pip install 'winit[lab]'") from None
    share = check_number(held_out, "held_out")
    if not 0 < share < 1:
        raise ValueError(f"held_out must be in (0, 1), not {held_out}")
    found = load_digits()
    return split(found.data, found.target, share)


def split(x: Any, labels: Any, held_out: float) -> Data:
    """Standardise each column by the samples that are trained on, and hold out every so many-th sample."""
    x, labels = np.asarray(x, np.float64), np.asarray(labels)
    held = np.arange(len(x)) % max(round(1 / held_out), 2) == 0
    mean, std = x[~held].mean(axis=0), x[~held].std(axis=0)
    wide = ((x - mean) / np.where(std > 0, std, 1.0)).astype(np.float32)
    return Data(wide[~held], labels[~held].astype(np.int64), wide[held], labels[held].astype(np.int64))


def compare(
    schemes: Mapping[str, Scheme] | Iterable[Scheme],
    activations: str | Activation | Sequence[str | Activation] = "relu",
    *,
    data: Data | Sequence[Any],
    depth: int = 3,
    width: int = 64,
    seeds: int | Iterable[int] = 5,
    steps: int = 300,
    batch: int = 64,
    learning_rate: float = 0.05,
    momentum: float | None = None,
    l2: float = 0.0,
    bias: Scheme | None = None,
    residual: bool = False,
    norm: str | None = None,
    optimiser: str = "sgd",
    dropout: float = 0.0,
    l2sp: float = 0.0,
    target: float = 0.5,
    executor: Any = None,
    threads: int | None = None,
) -> Comparison:
    """Train one network for each scheme, activation and seed, and compare what comes of it.

    Networks have `depth` layers, the last of them linear with a unit a class, and are trained by gradient descent with
    momentum, or by Adam, on the softmax cross-entropy. A run that diverges says so, and has no accuracy.

    ========================  ==============================================================================
    runs                      scheme, activation, seed, first_loss, last_loss (the mean of the last tenth of
                              the steps), steps_to_target (NaN if never), train_accuracy, held_accuracy,
                              diverged, seconds
    summary                   scheme, activation, runs, diverged (how many), and mean and std over the other
                              seeds of last_loss, steps_to_target, train_accuracy and held_accuracy
    ========================  ==============================================================================

    Parameters
    ----------
    schemes : mapping from names to schemes, or schemes.
    activations : one, or several.
    data : Data, as digits() returns it; or x, labels, held_x, held_labels.
    depth : int, layers with weights. width : int, units of hidden layers.
    seeds : how many, from 0 on; or which.
    steps, batch, learning_rate, l2, dropout : of training, as of train and of the optimisers.
    momentum : float in [0, 1), of "sgd" alone; None for 0.9.
    bias : scheme of the biases; None for zeros.
    residual, norm : of the networks.
    optimiser : "sgd" or "adam".
    l2sp : float >= 0. Strength of the pull of each network's parameters to where they began, as of L2SP.
    target : float. The loss that steps_to_target waits for, of a running mean of ten steps.
    executor : what has a map(function, iterable) that gives results: concurrent.futures.ProcessPoolExecutor,
        multiprocessing.Pool, ray.util.multiprocessing.Pool, or a Dask client's get_executor(), since the map of the
        client itself gives futures. None runs one after the other. For joblib a class of two lines will do:
        ``def map(self, f, runs): return joblib.Parallel(2)(joblib.delayed(f)(run) for run in runs)``.
    threads : int or None, of each network; 1 where an executor keeps all processors busy.

    Returns
    -------
    Comparison. All its numbers but the seconds are the same on every run, machine and executor.

    Raises
    ------
    TypeError, ValueError : what is not as above; data that are not finite, or whose labels are not classes 0, 1, ... or
        are one class alone.

    >>> import numpy as np, winit
    >>> from winit.lab import compare
    >>> x = winit.draw(winit.normal(), (400, 4), seed=0, name="x")
    >>> labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> data = x[:300], labels[:300], x[300:], labels[300:]
    >>> found = compare({"he": winit.he_normal(), "zeros": winit.zeros()}, data=data, seeds=2)
    >>> he, zeros = found.summary
    >>> he["held_accuracy"] > 0.8 > zeros["held_accuracy"]
    True

    """
    named = named_schemes(schemes)
    chosen = [as_activation(each) for each in _several(activations)]
    checked = _check_data(data)
    classes = int(max(checked.labels.max(), checked.held_labels.max(initial=0))) + 1
    depth, width = check_integer(depth, "depth"), check_integer(width, "width")
    widths = (checked.x.shape[1], *[width] * (depth - 1), classes)
    rate = check_learning_rate(learning_rate)
    if check_one_of(optimiser, ("sgd", "adam"), "optimiser") == "adam" and momentum is not None:
        raise ValueError("momentum is for optimiser 'sgd': Adam has betas")
    steps, batch, target = check_integer(steps, "steps"), check_integer(batch, "batch"), check_number(target, "target")
    check_bool(residual, "residual")
    if norm is not None:
        check_one_of(norm, NORMS, "norm")
    dropout, l2sp = check_share(dropout, "dropout"), check_not_negative(l2sp, "l2sp")
    runs = [
        _Run(
            name, scheme, f, widths, bias, seed, checked, steps, batch, residual, norm,
            SGD(rate, 0.9 if momentum is None else momentum, l2) if optimiser == "sgd" else Adam(rate, l2=l2),
            dropout, l2sp, target, threads,
        )
        for name, scheme in named.items()
        for f in chosen
        for seed in _seeds(seeds)
    ]  # fmt: skip
    if executor is not None and not hasattr(executor, "map"):
        raise TypeError(f"executor must have a map, as concurrent.futures' have, not {shown(executor)}")
    if hasattr(executor, "get_executor"):
        raise TypeError("executor must be the get_executor() of a Dask client, not the client: its map gives futures")
    found = list(map(_done, runs) if executor is None else executor.map(_done, runs))
    rows: dict[str, list[Any]] = {}
    curves: dict[tuple[str, str], list[list[float]]] = {}
    for run, (row, losses) in zip(runs, found, strict=True):
        curves.setdefault((run.scheme, run.activation.name), []).append(losses)
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    table = Table(rows)
    return Comparison(table, _summary(table), curves)


def _done(run: _Run) -> tuple[dict[str, Any], list[float]]:
    """Train one network."""
    began = time.perf_counter()
    network = Network(
        run.widths, run.activation, run.drawn, bias=run.bias, output="identity", residual=run.residual, norm=run.norm,
        seed=run.seed, threads=run.threads,
    )  # fmt: skip
    curve = train(
        network, run.data.x, run.data.labels, run.optimiser, steps=run.steps, batch=run.batch, dropout=run.dropout,
        penalty=L2SP(network, run.l2sp) if run.l2sp else None,
    )  # fmt: skip
    losses = curve.losses
    ended = not curve.diverged
    row = {
        "scheme": run.scheme,
        "activation": run.activation.name,
        "seed": run.seed,
        "first_loss": losses[0],
        "last_loss": _mean(losses[-max(len(losses) // 10, 1) :]) if ended else math.inf,
        "steps_to_target": _reached(losses, run.target),
        "train_accuracy": accuracy(network, run.data.x, run.data.labels) if ended else math.nan,
        "held_accuracy": accuracy(network, run.data.held_x, run.data.held_labels) if ended else math.nan,
        "diverged": curve.diverged,
        "seconds": time.perf_counter() - began,
    }
    return row, losses


def _reached(losses: Sequence[float], target: float) -> float:
    """The first step whose mean loss over ten is at most the target."""
    for step in range(9, len(losses)):
        if _mean(losses[step - 9 : step + 1]) <= target:
            return float(step + 1)
    return math.nan


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def _summary(runs: Table) -> Table:
    """Means and stds over the seeds that did not diverge; of steps, over those that reached the target."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in runs:
        grouped.setdefault((row["scheme"], row["activation"]), []).append(row)
    rows: dict[str, list[Any]] = {}
    for (scheme, f), members in grouped.items():
        whole = [row for row in members if not row["diverged"]]
        line: dict[str, Any] = {
            "scheme": scheme,
            "activation": f,
            "runs": len(members),
            "diverged": len(members) - len(whole),
        }
        for name in ("last_loss", "steps_to_target", "train_accuracy", "held_accuracy"):
            values = [row[name] for row in whole if math.isfinite(row[name])]
            mean = _mean(values) if values else math.nan
            line[name] = mean
            line[f"{name}_std"] = math.sqrt(_mean([(v - mean) ** 2 for v in values])) if values else math.nan
        for name, value in line.items():
            rows.setdefault(name, []).append(value)
    return Table(rows)


def named_schemes(schemes: Any) -> dict[str, Scheme]:
    """Return a caller's schemes by name: as they are named, or by their reprs."""
    if isinstance(schemes, Scheme):
        schemes = [schemes]
    items = schemes if isinstance(schemes, Mapping) else None
    if items is None:
        listed = None if isinstance(schemes, (str, bytes)) else items_of(schemes)
        if listed is None:
            raise TypeError(f"schemes must be schemes, or a mapping from names to schemes, not {shown(schemes)}")
        for scheme in listed:
            check_scheme(scheme)
        items = {repr(scheme): scheme for scheme in listed}
    if not items:
        raise ValueError("schemes must be at least one")
    for name, scheme in items.items():
        if not isinstance(name, str):
            raise TypeError(f"names of schemes must be str, not {shown(name)}")
        check_scheme(scheme)
    return dict(items)


def _several(activations: Any) -> list[Any]:
    if isinstance(activations, (str, Activation)) or activations is None:
        return [activations]
    listed = items_of(activations)
    if not listed:
        raise ValueError(f"activations must be one or several, not {shown(activations)}")
    return listed


def _seeds(seeds: Any) -> list[int]:
    listed = items_of(seeds) if not isinstance(seeds, (str, bytes, int)) else None
    if listed is None:
        return list(range(check_integer(seeds, "seeds")))
    if not listed:
        raise ValueError("seeds must be at least one")
    return [check_integer(seed, "a seed", 0) for seed in listed]


def _check_data(data: Any) -> Data:
    """Return a caller's data: finite numbers, and labels of at least two classes."""
    listed = items_of(data) if not isinstance(data, (str, bytes, Mapping)) else None
    if listed is None or len(listed) != 4:
        raise TypeError(f"data must be x, labels, held_x and held_labels, not {shown(data)}")
    arrays = []
    for x, what in ((listed[0], "x"), (listed[2], "held_x")):
        array = array_of(x, f"{what} of data")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{what} of data must be numbers, not {array.dtype}")
        if array.ndim != 2 or not len(array):
            raise ValueError(f"{what} of data must be numbers of shape (samples, columns), not {shown(array.shape)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{what} of data must be finite: it holds NaN or infinity")
        arrays.append(array)
    if arrays[0].shape[1] != arrays[1].shape[1]:
        raise ValueError(f"held_x must have the {arrays[0].shape[1]} columns of x, not {arrays[1].shape[1]}")
    most = 1 << 31
    labels = check_labels(listed[1], len(arrays[0]), most)
    if len(np.unique(labels)) < 2:
        raise ValueError("labels of data are of one class alone: there is nothing to learn")
    held = check_labels(listed[3], len(arrays[1]), int(labels.max()) + 1)
    return Data(arrays[0], labels, arrays[1], held)
