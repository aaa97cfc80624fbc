#!/usr/bin/env bash
# Run tests under an aarch64 Python on an x86-64 Debian, from nothing:
#
#     tools/aarch64_python.sh [--keep FOLDER] [pytest's arguments]
#
# Debian's arm64 Python and its libraries are unpacked into a folder (nothing is installed), the wheels that the tests need
# are taken from PyPI in the versions of this environment, the extensions are cross-compiled under the flags of setup.py,
# and qemu-user runs the rest. PYTHON (else .venv/bin/python) builds; Debian must have a Python of the same version.
#
# Ends with pytest's status, or with 77 where the packages or compilers cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")

if [ "${1:-}" = --keep ]; then
    mkdir -p "$2"
    folder=$(realpath "$2")
    shift 2
else
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
if [ $# = 0 ]; then # what could see the processor, but what is measured, which would be the emulator's, or needs numba
    set -- -n auto tests/test_{golden,law,dense,buffers}.py -k "not reference and not baseline and not memory and \
        not interrupt and not ten_thousand_times and not every_public_scheme and not virtuals_are_frozen"
fi

cannot() {
    echo "aarch64 Python: $1"
    exit 77
}
for tool in apt-get dpkg aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$tool" >/dev/null || cannot "there is no $tool"
done

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
root=$folder/root
if ! [ -e "$root/usr/bin/python$version" ]; then
    apt=$folder/apt
    mkdir -p "$root" "$apt/lists/partial" "$apt/archives/partial" "$apt/packages"
    : >"$apt/status"
    own=(-qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
        -o "Dir::State::Lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt")
    apt-get "${own[@]}" update || cannot "no lists of packages"
    (cd "$apt/packages" && apt-get "${own[@]}" download "python$version-minimal" \
        "libpython$version"{-minimal,-stdlib,-dev} libc6 libgcc-s1 libstdc++6 libexpat1 zlib1g libssl3 libffi8 \
        libbz2-1.0 liblzma5 libsqlite3-0 libuuid1) || cannot "no packages of Python $version for arm64"
    for package in "$apt"/packages/*.deb; do dpkg -x "$package" "$root"; done
fi

site=$folder/site
if ! [ -e "$site/sitecustomize.py" ]; then
    wanted=$("$python" -c 'from importlib.metadata import version
print(*[f"{name}=={version(name)}" for name in "numpy ml_dtypes scipy pytest pytest-xdist pytest-benchmark hypothesis mpmath".split()])')
    platforms=()
    for glibc in 17 26 27 28 31 34 35 36; do platforms+=(--platform "manylinux_2_${glibc}_aarch64"); done
    # shellcheck disable=SC2086
    "$python" -m pip install -q --no-warn-conflicts --target "$site" --only-binary=:all: --python-version "$version" \
        --implementation cp --platform manylinux2014_aarch64 "${platforms[@]}" $wanted || cannot "no wheels for aarch64"
    # Programs that tests start run under the emulator too.
    printf '#!/bin/sh\nexec qemu-aarch64 -L "%s" "%s" "$@"\n' "$root" "$root/usr/bin/python$version" >"$folder/python"
    chmod +x "$folder/python"
    printf 'import sys\n\nsys.executable = sys._base_executable = "%s"\n' "$folder/python" >"$site/sitecustomize.py"
fi

# setup.py believes to be on the other machine: that is what its Python says of itself, and of its compiler.
mkdir -p "$folder/config"
cp "$root/usr/lib/python$version"/_sysconfigdata__aarch64-linux-gnu.py "$folder/config/"
_PYTHON_HOST_PLATFORM=linux-aarch64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu \
    PYTHONPATH=$folder/config "$python" setup.py -q build_ext --build-lib "$folder/build" --build-temp "$folder/objects" \
    "-I$root/usr/include/python$version:$root/usr/include"

rm -rf "$folder/tree"
mkdir "$folder/tree"
git ls-files -z -co --exclude-standard | tar -c --null -T - | tar -x -C "$folder/tree"
cp -r "$folder/build/winit" "$folder/tree/src/"
cd "$folder/tree"
export PYTHONPATH=$site:$folder/tree/src PYTHONDONTWRITEBYTECODE=1
"$folder/python" -c 'import platform, winit; print(platform.machine(), winit.engines()["cython"])'
"$folder/python" -m pytest -q -p no:cacheprovider -m "not slow" "$@"
