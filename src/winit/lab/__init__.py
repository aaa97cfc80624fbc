"""The lab: see what an initialisation does to signals, gradients and symmetry, before a training run is spent on it."""

from winit.lab.comparison import Comparison, Data, compare, digits
from winit.lab.modules import torch_signal
from winit.lab.network import Network
from winit.lab.pages import Report, report, report_checkpoint, report_plan
from winit.lab.plots import plot_histograms, plot_losses, plot_signal, plot_symmetry
from winit.lab.propagation import signal
from winit.lab.tables import Table
from winit.lab.training import SGD, Adam, Curve, accuracy, train
from winit.lab.units import symmetry

__all__ = [
    "SGD",
    "Adam",
    "Comparison",
    "Curve",
    "Data",
    "Network",
    "Report",
    "Table",
    "accuracy",
    "compare",
    "digits",
    "plot_histograms",
    "plot_losses",
    "plot_signal",
    "plot_symmetry",
    "report",
    "report_checkpoint",
    "report_plan",
    "signal",
    "symmetry",
    "torch_signal",
    "train",
]


def __dir__() -> list[str]:
    return __all__
