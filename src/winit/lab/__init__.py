"""The lab: see what an initialisation does to signals, gradients and symmetry, before a training run is spent on it."""

from winit.lab.adaptation import Adapted, adapt
from winit.lab.comparison import Comparison, Data, compare, digits
from winit.lab.modules import torch_signal
from winit.lab.network import Network
from winit.lab.pages import Report, report, report_checkpoint, report_plan
from winit.lab.penalties import L2SP, Orthogonality
from winit.lab.plots import plot_coordinates, plot_histograms, plot_losses, plot_signal, plot_symmetry
from winit.lab.propagation import signal
from winit.lab.rates import coordinate_check, mup_rates, trust_rates, trust_ratios
from winit.lab.residuals import residual_stream
from winit.lab.tables import Table
from winit.lab.training import SGD, Adam, Curve, Rates, accuracy, train
from winit.lab.units import symmetry

__all__ = [
    "L2SP",
    "SGD",
    "Adam",
    "Adapted",
    "Comparison",
    "Curve",
    "Data",
    "Network",
    "Orthogonality",
    "Rates",
    "Report",
    "Table",
    "accuracy",
    "adapt",
    "compare",
    "coordinate_check",
    "digits",
    "mup_rates",
    "plot_coordinates",
    "plot_histograms",
    "plot_losses",
    "plot_signal",
    "plot_symmetry",
    "report",
    "report_checkpoint",
    "report_plan",
    "residual_stream",
    "signal",
    "symmetry",
    "torch_signal",
    "train",
    "trust_rates",
    "trust_ratios",
]


def __dir__() -> list[str]:
    return __all__
