"""Threads, forks and processes: values are the serial ones, and nothing of winit's is left running or locked."""

import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
import sysconfig
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import winit

FREE = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
BUILDS = [("cython", isa) for isa in winit.engines()["cython"]["instruction_sets"]] + [("reference", None)]
TASKS = Path("/proc/self/task")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8)).hexdigest()


def script(tmp_path, code, timeout=120):
    """What a script of its own prints; in a file, since spawned processes read it again."""
    path = tmp_path / "script.py"
    path.write_text(code)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def at_once(works):
    """Run functions in Python threads that start together; their results in order, or the first error."""
    barrier, results = threading.Barrier(len(works)), [None] * len(works)

    def run(i):
        barrier.wait()
        try:
            results[i] = works[i]()
        except BaseException as error:
            results[i] = error

    workers = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


@pytest.fixture
def restless():
    """Change threads as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def forget():
    """Empty the caches, so that threads meet where they are filled."""
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "winit"]:
        for value in list(vars(module).values()):
            if hasattr(value, "cache_clear"):
                value.cache_clear()


CASES = [
    (winit.normal(), (300_001,), "float32"),
    (winit.uniform(-1, 2), (611, 700), "float64"),
    (winit.truncated_normal(0, 1, -1.5, 3), (611, 700), "float16"),
    (winit.he_normal(), (900, 700), "bfloat16"),
    (winit.sparse(7), (500, 300), "float32"),
    (winit.orthogonal(), (96, 130), "float32"),
    (winit.embedding(0.5, 3), (700, 600), "float32"),
    (winit.literal([[1.0, 2.0]] * 3), (3, 2), "bfloat16"),
    (winit.mamba_dt_bias(), (50_000,), "float32"),
]


def test_different_tensors_at_once(restless):
    def work(scheme, shape, dtype, seed):
        out = winit.draw(scheme, shape, seed=seed, name=f"{seed}", dtype=dtype, threads=2)
        return digest(winit.add(out, scheme, seed=seed + 1, scale=0.25 + 0.1 * seed, threads=2))

    jobs = [(*case, seed) for seed, case in enumerate(CASES * 2)]
    expected = [work(*job) for job in jobs]
    for _ in range(6 if FREE else 3):
        forget()
        assert at_once([lambda job=job: work(*job) for job in jobs]) == expected


def test_one_tensor_in_disjoint_boxes_at_once(restless):
    shape, parts = (900, 1100), 6
    for dtype in ("float32", "bfloat16"):
        expected = winit.draw(winit.xavier_normal(), shape, seed=1, dtype=dtype)
        for axis in (0, 1):
            out = np.zeros_like(expected)
            cuts = np.linspace(0, shape[axis], parts + 1, dtype=int).tolist()
            works = []
            for lo, hi in itertools.pairwise(cuts):
                box = tuple(slice(lo, hi) if i == axis else slice(None) for i in (0, 1))
                works.append(
                    lambda out=out, box=box: winit.fill(
                        out[box], winit.xavier_normal(), seed=1, shape=shape, box=box, threads=2
                    )
                )
            at_once(works)
            assert digest(out) == digest(expected)


def test_the_same_memory_at_once(restless):
    """Two fills of one array write the same bytes, whoever is first."""
    out = np.zeros(2_000_003, np.float32)
    at_once([lambda: winit.fill(out, winit.normal(), seed=2, threads=2)] * 4)
    assert digest(out) == digest(winit.draw(winit.normal(), out.shape, seed=2))


def test_dense_passes_at_once(restless):
    x = winit.draw(winit.normal(), (70, 500), seed=0)

    def work(seed):
        weight = winit.Virtual(winit.he_normal(), (600, 500), seed=seed)
        y, tape = winit.dense_forward(x, weight, np.zeros(600, np.float32), "gelu", stats=True, threads=2)
        return [digest(part) for part in (y, *winit.dense_backward(y, tape, want=("x", "bias"), threads=2)[::2])]

    expected = [work(seed) for seed in range(5)]
    for _ in range(4):
        assert at_once([lambda seed=seed: work(seed) for seed in range(5)]) == expected


def test_plans_at_once(restless, tmp_path):
    plan = winit.Plan({f"w{i}": winit.Param((300, 200 + i), winit.he_normal(), "float32") for i in range(9)})
    expected = {name: digest(array) for name, array in plan.build(seed=3).items()}
    plan.write(tmp_path / "alone.npz", seed=3)

    def build():
        return {name: digest(array) for name, array in plan.build(seed=3, threads=2).items()} == expected

    def write(i):
        plan.write(tmp_path / f"{i}.npz", seed=3, threads=2)
        return (tmp_path / f"{i}.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()

    assert all(at_once([build] * 3 + [lambda i=i: write(i) for i in range(3)]))


def test_other_memory_at_once(restless):
    """Buffers and DLPack capsules, each of which is lent, renamed and given back."""
    expected = digest(winit.draw(winit.normal(), 1000, seed=0))

    class Shared:
        def __init__(self, array):
            self.array, self.__array_interface__ = array, array.__array_interface__

    def work():
        for _ in range(100):
            store = bytearray(4000)
            winit.fill(memoryview(store).cast("f"), winit.normal(), seed=0)
            store.append(0)
            array = winit.fill(Shared(np.zeros(1000, np.float32)), winit.normal(), seed=0).array
            assert digest(np.frombuffer(store, np.float32, 1000)) == digest(array) == expected
        return True

    assert all(at_once([work] * 4))


def test_torch_tensors_at_once(restless):
    torch = pytest.importorskip("torch")
    expected = winit.draw(winit.normal(), 1000, seed=0, dtype="bfloat16").view(np.int16)

    def work():
        for _ in range(100):
            out = winit.fill(torch.zeros(1000, dtype=torch.bfloat16), winit.normal(), seed=0)
            assert (out.view(torch.int16).numpy() == expected).all()
        return True

    assert all(at_once([work] * 4))


def test_another_thread_changes_the_engine(restless):
    """The choice is the process's; a value does not depend on it."""
    expected = digest(winit.draw(winit.normal(), 5000, seed=0))
    stop = threading.Event()

    def change():
        try:
            while not stop.is_set():
                for build in BUILDS:
                    with winit.use_engine(*build):
                        time.sleep(1e-4)
        finally:
            stop.set()

    def work():
        try:
            for _ in range(200):
                assert digest(winit.draw(winit.normal(), 5000, seed=0)) == expected
        finally:
            stop.set()

    before = winit.engines()
    at_once([change, work, work])
    assert winit.engines() == before


def test_eight_threads_while_caches_are_emptied_and_engines_change(restless):
    """Everything that is the process's own, at once: caches, the engine in use, and calls that read both."""
    plan = winit.Plan({f"w{i}": winit.Param((20, 10 + i), winit.he_normal(), "float32") for i in range(5)})
    x = winit.draw(winit.normal(), (9, 30), seed=0)
    calls = [
        lambda: winit.draw(winit.truncated_normal(0, 1, -2, 2), 700, seed=1),
        lambda: winit.fill(np.zeros((30, 40), np.float32), winit.xavier_uniform(), seed=2),
        lambda: winit.add(np.zeros(500), winit.uniform(), seed=3, scale=0.5),
        lambda: winit.draw(winit.sparse(3), (40, 20), seed=4),
        lambda: np.concatenate([array.ravel() for array in plan.build(seed=5).values()]),
        lambda: np.int64([hash(winit.normal(0, i)) == hash(winit.normal(0, i)) for i in range(1, 50)]),
    ]
    expected = [digest(call()) for call in calls]
    with winit.use_engine("cython"):
        product = digest(winit.dense_forward(x, winit.Virtual(winit.he_normal(), (20, 30), seed=6), None, "gelu")[0])
    stop = threading.Event()

    def until_the_others_end(work):
        def run():
            while not stop.is_set():
                work()

        return run

    def change():
        for isa in winit.engines()["cython"]["instruction_sets"]:  # whose products are the same to the bit
            with winit.use_engine("cython", isa):
                time.sleep(1e-5)

    def work():
        try:
            for _ in range(40):
                assert [digest(call()) for call in calls] == expected
                weight = winit.Virtual(winit.he_normal(), (20, 30), seed=6)
                assert digest(winit.dense_forward(x, weight, None, "gelu")[0]) == product
        finally:
            stop.set()

    with winit.use_engine("cython"):
        at_once([until_the_others_end(forget), until_the_others_end(change), *[work] * 6])


@pytest.mark.usefixtures("compiled")  # Numba swaps them while it compiles
def test_what_all_threads_share_is_left_alone(monkeypatch):
    """Warning filters are the process's: swapping them for a moment is not safe with threads."""

    def swapped(*arguments, **keywords):
        raise AssertionError("the process's warning filters were swapped")

    with monkeypatch.context() as patch:
        patch.setattr(warnings, "catch_warnings", swapped)
        for dtype in ("float32", "<f4", "f8", np.float16, np.dtype("float64"), float):
            winit.fill(winit.draw(winit.normal(), 4, seed=0, dtype=dtype), winit.normal(), seed=0, dtype=dtype)


# ---- processors

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two processors to choose from",
)


def ranges_of(kind):
    """A range of work that takes some 50 ms, and what to do with it."""
    from winit._kernels import dense, sample

    isa = winit.engines()["cython"]["instruction_sets"][0]
    if kind == "fill":
        bound = sample.Fill(isa, 2, 1, (1, 2), (0.0, 1.0), np.zeros(5_000_000), 0, (1,))
        return lambda: bound.run(0, bound.size)
    if kind == "sparse":
        out = np.zeros((2000, 2000))
        bound = sample.Sparse(isa, 1, (1, 2), (0.0, 1.0), out.shape, (True, False), 400, out, (0, 0))
        return lambda: bound.run(0, bound.size)
    a = np.ones((400, 400))
    bound = dense.Product(isa, a, a, np.zeros((400, 400)), 1, exact=True)
    return lambda: bound.run(1 << 30)


def busy_without_the_lock(stop):
    array = np.arange(1_000_000)[::-1].copy()
    while not stop.is_set():
        np.sort(array)


@needs_affinity
@pytest.mark.parametrize("kind", ["fill", "sparse", "dense"])
@pytest.mark.parametrize(("first", "room"), [("caller", 1 << 30), ("helper", 1 << 30), ("caller", 1), ("helper", 1)])
def test_threads_of_one_call_do_not_share_a_processor(kind, first, room):
    """Of two that one processor has, the helper goes to the others: the second of them to begin sees to it.

    Bound to one processor, one thread is busy and the other begins a range, on a machine of which it is told that there
    is room. Where there is none, each stays.
    """
    from winit._kernels import sample

    allowed = os.sched_getaffinity(0)
    shared, others = {min(allowed)}, allowed - {min(allowed)}
    seen, after = [], []

    def helper(start, ready, go, stop):
        os.sched_setaffinity(0, shared)
        start.begin(True)
        ready.set()
        if first == "helper":
            busy_without_the_lock(stop)
        else:
            go.wait()
            time.sleep(0.01)
            ranges_of(kind)()
            after.append(os.sched_getaffinity(0))
        start.end()
        after.append(os.sched_getaffinity(0))

    def caller(start, made, ready, go, stop):
        start.append(sample.Start(room))
        os.sched_setaffinity(0, shared)
        made.set()
        ready.wait()
        start[0].begin(False)
        if first == "caller":
            busy_without_the_lock(stop)
        else:
            go.wait()
            time.sleep(0.01)
            ranges_of(kind)()
        start[0].end()

    deadline = time.monotonic() + (300 if room > 1 else 0.5)
    while others not in seen and time.monotonic() < deadline:
        start, made, ready, go, stop = [], *(threading.Event() for _ in range(4))
        called = threading.Thread(target=caller, args=(start, made, ready, go, stop), daemon=True)
        called.start()
        assert made.wait(60)
        helped = threading.Thread(target=helper, args=(start[0], ready, go, stop), daemon=True)
        helped.start()
        assert ready.wait(60)
        second = called if first == "helper" else helped
        time.sleep(0.01)
        go.set()
        over = False
        while not over:
            over = not second.is_alive()
            with contextlib.suppress(ProcessLookupError):  # it ended
                seen.append(os.sched_getaffinity(helped.native_id))
            time.sleep(2e-3)
        stop.set()
        called.join()
        helped.join()
    assert (others in seen) == (room > 1)
    assert all(each in (allowed, shared) for each in after[:-1]) and after[-1] == (allowed if room > 1 else shared)
    assert os.sched_getaffinity(0) == allowed


def test_nothing_is_placed_where_the_environment_says_so(monkeypatch):
    from winit import _kernels

    monkeypatch.setenv("WINIT_PLACE_THREADS", "0")
    assert _kernels.thread_start() is None
    draw = winit.draw(winit.normal(), 3_000_000, seed=0, threads=2)
    monkeypatch.delenv("WINIT_PLACE_THREADS")
    assert digest(draw) == digest(winit.draw(winit.normal(), 3_000_000, seed=0, threads=2))


@pytest.mark.usefixtures("compiled")
def test_a_start_that_never_ended_is_forgotten():
    """A call within another, one thread in both roles, and one whose end did not come."""
    from winit._kernels import sample

    def work():
        outer, inner = sample.Start(), sample.Start()
        outer.begin(True)
        inner.begin(False)
        ranges_of("fill")()
        inner.end()
        inner.end()
        outer.end()
        outer.begin(False)
        outer.begin(True)
        del outer, inner
        ranges_of("fill")()
        return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None

    assert at_once([work] * 3) == [work()] * 3


def test_an_interrupt_between_two_lines_leaves_no_helper(monkeypatch):
    """The last thing that the caller's own part calls is interrupted, while a helper works."""
    from winit import _kernels
    from winit._core.threads import run_tasks

    class Interrupted:
        def begin(self, helper):
            pass

        def end(self):
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt

    monkeypatch.setattr(_kernels, "thread_start", Interrupted)
    ended = []

    def work(seconds):
        time.sleep(seconds)
        ended.append(seconds)

    with pytest.raises(KeyboardInterrupt):
        run_tasks(work, [0.3, 0.01], 2)
    assert sorted(ended) == [0.01, 0.3]


@needs_affinity
def test_a_call_leaves_the_callers_processors_alone():
    before = os.sched_getaffinity(0)
    found = []
    plan = winit.Plan({"w": winit.Param((1200, 1200), winit.he_normal(), "float32")})
    plan.build(seed=0, threads=3)
    worker = threading.Thread(target=lambda: found.append(os.sched_getaffinity(0)))
    worker.start()
    worker.join()
    assert os.sched_getaffinity(0) == before == found[0]


# ---- nothing at rest


def calls(tmp_path):
    """Public calls large enough for threads."""
    big = np.zeros((1200, 1200), np.float32)
    plan = winit.Plan({f"w{i}": winit.Param((900, 900), winit.he_normal(), "float32") for i in range(3)})
    y, tape = winit.dense_forward(big, winit.Virtual(winit.he_normal(), (1200, 1200), seed=0), None, "relu", threads=3)
    yield "draw", lambda: winit.draw(winit.normal(), (1200, 1200), seed=0, threads=3)
    yield "fill", lambda: winit.fill(big, winit.uniform(), seed=0, threads=3)
    yield "add", lambda: winit.add(big, winit.normal(), seed=0, threads=3)
    yield "orthogonal", lambda: winit.draw(winit.orthogonal(), (600, 600), seed=0, threads=3)
    yield "sparse", lambda: winit.draw(winit.sparse(20), (1200, 1200), seed=0, threads=3)
    yield "dense_forward", lambda: winit.dense_forward(big, big, None, "gelu", stats=True, threads=3)
    yield "dense_backward", lambda: winit.dense_backward(y, tape, want=("x",), threads=3)
    yield "build", lambda: plan.build(seed=0, threads=3)
    yield "write", lambda: plan.write(tmp_path / "model", seed=0, overwrite=True, threads=3)


@pytest.mark.usefixtures("compiled")
def test_no_thread_is_left(tmp_path, monkeypatch):
    started = []
    start, run = threading.Thread.start, threading.Thread.run
    monkeypatch.setattr(threading.Thread, "start", lambda self: (started.append(self), start(self))[1])
    monkeypatch.setattr(threading.Thread, "run", lambda self: (run(self), time.sleep(0.02)))  # slow to end
    cases = list(calls(tmp_path))
    for _, call in cases:  # what NumPy's own products start stays
        call()
    for name, call in cases:
        python = threading.enumerate()
        system = len(list(TASKS.iterdir())) if TASKS.exists() else None
        started.clear()
        call()
        assert started, f"{name} started no thread: the test needs a larger one"
        assert threading.enumerate() == python, name
        deadline = time.monotonic() + 5
        # join returns a moment before the system forgets a thread.
        while system is not None and len(list(TASKS.iterdir())) > system and time.monotonic() < deadline:
            time.sleep(0.001)
        assert system is None or len(list(TASKS.iterdir())) <= system, name


def test_no_lock_is_kept():
    """Modules hold no lock, which a fork could take while another thread has it."""
    kinds = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event, threading.local)
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "winit"]:
        assert not [name for name, value in vars(module).items() if isinstance(value, kinds)], module


# ---- forks

FORKED = """
import hashlib, os, signal, sys, tempfile, threading, warnings
import numpy as np, winit
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, which is the point

plan = winit.Plan({f"w{i}": winit.Param((700, 700), winit.he_normal(), "bfloat16") for i in range(4)})
x = winit.draw(winit.normal(), (300, 600), seed=0)

def results(folder):
    found = [winit.draw(winit.normal(), 1_500_000, seed=0, threads=2)]
    found.append(winit.add(found[0].copy(), winit.uniform(), seed=1, threads=2))
    found.append(winit.draw(winit.orthogonal(), (300, 300), seed=0, threads=2))
    y, tape = winit.dense_forward(x, winit.Virtual(winit.he_normal(), (600, 600), seed=1), None, "gelu", threads=2)
    found += [y, winit.dense_backward(y, tape, threads=2)[0]]
    try:
        found += [array.view(np.uint16) for array in plan.build(seed=2, threads=2).values()]
    except ImportError:
        pass
    path = os.path.join(folder, f"{os.getpid()}.npz")
    plan.write(path, seed=2, threads=2)
    with open(path, "rb") as file:
        found.append(np.frombuffer(file.read(), np.uint8))
    os.unlink(path)
    return [hashlib.sha256(np.ascontiguousarray(part).view(np.uint8)).hexdigest() for part in found]

def child(folder, expected, depth):
    signal.alarm(60)  # a deadlock ends the child
    try:
        good = results(folder) == expected
        if depth:  # a child's child, after the child's own threads
            good = good and waited(fork(folder, expected, depth - 1))
        os._exit(0 if good else 1)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(2)

def fork(folder, expected, depth=0):
    pid = os.fork()
    if pid == 0:
        child(folder, expected, depth)
    return pid

def waited(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

with tempfile.TemporaryDirectory() as folder:
    expected = results(folder)
    print("after", waited(fork(folder, expected, depth=1)), results(folder) == expected)

    big = np.zeros(12_000_000, np.float32)
    whole = hashlib.sha256(winit.draw(winit.normal(), big.shape, seed=7)).hexdigest()
    stop, busy, bad = threading.Event(), threading.Event(), []

    def fill():
        while not stop.is_set():
            big[...] = 0
            busy.set()
            winit.fill(big, winit.normal(), seed=7, threads=2)
            busy.clear()
            if hashlib.sha256(big).hexdigest() != whole:
                bad.append(1)

    def multiply():
        weight = winit.Virtual(winit.he_normal(), (600, 600), seed=1)
        while not stop.is_set():
            y, _ = winit.dense_forward(x, weight, None, "gelu", threads=2)
            if hashlib.sha256(y).hexdigest() != expected[3]:
                bad.append(2)

    workers = [threading.Thread(target=work) for work in (fill, multiply)]
    for worker in workers:
        worker.start()
    good, amid = [], 0
    for _ in range(8):
        busy.wait()
        pid = fork(folder, expected)
        amid += busy.is_set()
        good.append(waited(pid))
    stop.set()
    for worker in workers:
        worker.join()
    print("amid", all(good), amid > 0, not bad, results(folder) == expected)
"""


@needs_fork
def test_forks_after_and_amid_threads(tmp_path):
    """Child, child's child and parent go on with the serial values, whatever other threads were doing."""
    assert script(tmp_path, FORKED) == ["after True True", "amid True True True True"]


POOLS = """
import multiprocessing, sys, threading, warnings
import numpy as np, winit

def work(seed):
    return winit.draw(winit.normal(), 1_200_000, seed=seed, threads=2).tobytes()

def drawn(seed):
    return winit.Virtual(winit.he_normal(), (300, 400), seed=seed)

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    expected = [work(seed) for seed in range(4)]
    weights = [drawn(seed).draw().tobytes() for seed in range(4)]
    for method in sys.argv[1:] or multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(2) as pool:
            same = pool.map(work, range(4)) == expected
            virtual = [array.tobytes() for array in pool.map(winit.Virtual.draw, map(drawn, range(4)))] == weights
            print(method, same, virtual, work(0) == expected[0])
"""


def test_process_pools(tmp_path):
    """Forked from a process that has used threads, forked from a server, and spawned."""
    lines = [line.split() for line in script(tmp_path, POOLS)]
    assert "spawn" in [line[0] for line in lines]
    assert all(line[1:] == ["True"] * 3 for line in lines), lines


# ---- without the global lock

UNLOCKED = """
import sys, sysconfig
before = sys._is_gil_enabled()
import importlib, pkgutil, winit
for module in pkgutil.walk_packages(winit.__path__, "winit."):
    numba = module.name == "winit.jit" or module.name.startswith("winit._kernels.numba_")
    if not numba and module.name not in ("winit.__main__", "winit.torch", "winit.jax", "winit.keras"):
        importlib.import_module(module.name)
import winit._kernels.dense, winit._kernels.sample
print(before, sys._is_gil_enabled())
"""


@pytest.mark.skipif(not FREE, reason="this Python has a global lock")
def test_extensions_leave_the_lock_off(tmp_path):
    assert not sys._is_gil_enabled()
    assert script(tmp_path, UNLOCKED) == ["False False"]


@pytest.mark.skipif(not FREE, reason="this Python has a global lock")
def test_small_fills_run_in_parallel():
    """Fills too small for threads of their own, from as many Python threads as there are processors."""
    expected = [digest(winit.draw(winit.normal(), 700, seed=seed)) for seed in range(40)]

    def work():
        forget()
        return [
            digest(winit.add(np.zeros(700, np.float32), winit.normal(), seed=i % 40, threads=1)) == expected[i % 40]
            and digest(winit.fill(np.zeros(700, np.float32), winit.normal(), seed=i % 40)) == expected[i % 40]
            for i in range(2000)
        ]

    assert all(map(all, at_once([work] * 4)))
