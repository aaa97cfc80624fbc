#!/usr/bin/env bash
# Build winit from its sdist in a Debian of its own, with that Debian's compiler, Python and NumPy, and run tests there.
#
#     tools/chroot_build.sh SUITE [FOLDER]
#
# SUITE is trixie, sid or another suite of Debian; FOLDER holds the chroot and is kept for the next time (some 700 MB;
# by default a temporary one, which is removed). Wants root, debootstrap, and setuptools and Cython in python3 (or in
# $PYTHON) for the sdist. Where the suite has no Cython 3.1 or no ml_dtypes, wheels of PyPI stand in for them.
set -euo pipefail
suite=${1:?usage: tools/chroot_build.sh SUITE [FOLDER]}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
root=${2:-$work/root}
end() {
    mountpoint -q "$root/proc" && umount "$root/proc"
    rm -rf --one-file-system "$work"
}
trap end EXIT

if ! [ -x "$root/usr/bin/python3" ]; then
    debootstrap --variant=minbase --include="gcc,libc6-dev,python3-dev,python3-venv,python3-numpy,python3-setuptools,\
python3-pytest,python3-hypothesis,cython3,ca-certificates" "$suite" "$root" http://deb.debian.org/debian >"$work/log" ||
        { tail -n 5 "$work/log" && exit 1; }
fi
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/resolv.conf"
rm -rf "$root/sdist" "$root/build" "$root/venv"
"$python" setup.py -q sdist -d "$root/sdist"
chroot "$root" env PIP_DISABLE_PIP_VERSION_CHECK=1 sh -euc '
    if apt-cache show python3-ml-dtypes >/dev/null 2>&1; then apt-get -qq install -y python3-ml-dtypes >/dev/null; fi
    python3 -m venv --system-site-packages /venv
    python3 -c "import Cython; assert tuple(map(int, Cython.__version__.split(\".\")[:2])) >= (3, 1)" 2>/dev/null ||
        /venv/bin/pip install -q "cython>=3.1"
    python3 -c "import ml_dtypes" 2>/dev/null || /venv/bin/pip install -q --no-deps --only-binary :all: ml_dtypes
    /venv/bin/pip install -q --no-deps --no-build-isolation /sdist/winit-*.tar.gz
    mkdir /build
    tar xzf /sdist/winit-*.tar.gz -C /build --strip-components=1
    cd /build
    rm -rf src # the tests are to find what was installed
    gcc --version | sed -n 1p
    ldd --version | sed -n 1p
    /venv/bin/python -c "
import platform, Cython, numpy, winit
isas = winit.engines()[\"cython\"][\"instruction_sets\"]
print(\"Python\", platform.python_version(), \"NumPy\", numpy.__version__, \"Cython\", Cython.__version__, *isas)"
    /venv/bin/python -m pytest -q -o addopts= -p no:cacheprovider -m "not slow" \
        tests/test_golden.py tests/test_buffers.py tests/test_threads.py tests/test_plan.py tests/test_strict_reader.py \
        tests/test_embedding_headers.py
'
