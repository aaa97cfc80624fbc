"""The lab: see what an initialisation does to signals, gradients and symmetry, before a training run is spent on it."""

from winit.lab.network import Network
from winit.lab.propagation import signal
from winit.lab.tables import Table
from winit.lab.training import SGD, Adam, Curve, accuracy, train
from winit.lab.units import symmetry

__all__ = ["SGD", "Adam", "Curve", "Network", "Table", "accuracy", "signal", "symmetry", "train"]


def __dir__() -> list[str]:
    return __all__
