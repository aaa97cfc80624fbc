"""Sizes, and the peers that are installed."""

import importlib.util
import os

import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption("--elements", type=int, default=64 << 20, help="elements of the large fills (default 64 Mi)")


@pytest.fixture(scope="session")
def elements(request):
    return request.config.getoption("--elements")


def installed(name):
    return importlib.util.find_spec(name) is not None


@pytest.fixture(scope="session")
def arrays(elements):
    """One touched array for each dtype, shared by all peers: in-place fills, no fresh pages."""
    store = np.zeros(elements * 4, np.uint8)

    def of(dtype):
        count = elements // 2 if dtype == "float64" else elements
        kind = {"bfloat16": np.uint16, "float16": np.uint16}.get(dtype, dtype)
        return store.view(kind)[:count]

    return of


THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
