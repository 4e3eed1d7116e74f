#!/usr/bin/env bash
# From a fresh clone to a trained model:
#
#   ./run.sh experiments/quickstart.toml    fetch libtorch, build, run; any arguments of `run`
#   ./run.sh test [ARGS]                    fetch libtorch, run all tests (arguments of cargo test)
#   ./run.sh setup                          fetch libtorch only; then plain cargo works too
#   ./run.sh build                          fetch libtorch, build the release binary
#
# libtorch comes out of PyTorch's wheel, through pip, into ${XDG_CACHE_HOME:-~/.cache}/arcrun, once
# for all checkouts: the CUDA set where there is an NVIDIA driver, else the small CPU set
# (ARCRUN_LIBTORCH=cpu or cu130 chooses). A LIBTORCH of your own is used as it is.
set -euo pipefail

readonly torch=2.11.0
readonly rust=1.89
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly root

say() { echo "run.sh: $*" >&2; }
die() {
    say "$@"
    exit 1
}

# --- tools ---------------------------------------------------------------------------------------

missing=0
# need WHAT DEBIAN MACOS: one line on how to install what is missing.
need() {
    missing=1
    say "needs $1. Debian: $2; macOS: $3"
}

stop_if_missing() { [ "$missing" = 0 ] || exit 1; }

check_tools() {
    # rustup's folder is not yet in the PATH of the shell that installed it.
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    local rustup="curl --proto '=https' -sSf https://sh.rustup.rs | sh" have
    if ! command -v cargo >/dev/null; then
        need "cargo of Rust $rust or newer" "apt install curl && $rustup" "$rustup"
    else
        have=$(cd "$root" && cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
        if older "$have" "$rust"; then
            need "Rust $rust or newer, this is ${have:-broken}" \
                "rustup update stable, or $rustup" "the same"
        fi
    fi
    if ! command -v "${CXX:-c++}" >/dev/null || ! command -v "${CC:-cc}" >/dev/null; then
        need "a C++ compiler" "apt install g++" "xcode-select --install"
    fi
}

# Only fetching needs Python.
check_python() {
    local have
    if ! command -v python3 >/dev/null; then
        need "python3 with pip" "apt install python3 python3-pip" "xcode-select --install"
    elif ! have=$(python3 -m pip --version 2>/dev/null); then
        need "pip for python3" "apt install python3-pip" "python3 -m ensurepip --upgrade"
    else
        have=$(echo "$have" | sed -n 's/^pip \([0-9.]*\).*/\1/p')
        if older "$have" 20.3; then
            need "pip 20.3 or newer, this is ${have:-broken}" \
                "python3 -m pip install --user --upgrade pip" "the same"
        fi
    fi
}

# older A B: whether version A (major.minor...) is below B.
older() {
    awk -v a="$1" -v b="$2" 'BEGIN {
        split(a, x, "."); split(b, y, ".")
        exit !(x[1] + 0 < y[1] + 0 || (x[1] + 0 == y[1] + 0 && x[2] + 0 < y[2] + 0))
    }'
}

# --- libtorch ------------------------------------------------------------------------------------

# Uses the user's LIBTORCH, else links .libtorch to the cached one, which it fetches first.
setup() {
    if [ -n "${LIBTORCH:-}" ]; then
        stop_if_missing
        check_own_libtorch
        return
    fi
    local kind=${ARCRUN_LIBTORCH:-}
    if [ -z "$kind" ]; then
        kind=cpu
        if [ -e /proc/driver/nvidia/version ] || nvidia-smi >/dev/null 2>&1; then kind=cu130; fi
    fi
    case $kind in
        cpu | cu130) ;;
        *) die "ARCRUN_LIBTORCH is cpu or cu130, not $kind" ;;
    esac

    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/arcrun link=$root/.libtorch
    local libtorch=$cache/libtorch-$torch-$kind
    if [ ! -e "$libtorch/.arcrun-complete" ]; then
        check_python
        stop_if_missing
        mkdir -p "$cache" || die "cannot write the cache folder $cache: set XDG_CACHE_HOME"
        fetch "$libtorch" "$kind"
    fi
    stop_if_missing
    if [ "$(readlink "$link" || true)" != "$libtorch" ]; then
        if [ -e "$link" ] && [ ! -L "$link" ]; then die "$link is in the way: move it away"; fi
        ln -sfn "$libtorch" "$link"
        # build.rs watches it: another libtorch means another rpath.
        touch "$libtorch/.arcrun-complete" || true
    fi
}

check_own_libtorch() {
    case $LIBTORCH in
        /*) ;;
        *) export LIBTORCH=$PWD/$LIBTORCH ;;
    esac
    local lib include=${LIBTORCH_INCLUDE:-$LIBTORCH}/include have=
    for lib in "${LIBTORCH_LIB:-$LIBTORCH}"/lib/libtorch_cpu.{so,dylib} none; do
        if [ -e "$lib" ]; then break; fi
    done
    if [ "$lib" = none ] || [ ! -e "$include/torch/csrc/api/include/torch/torch.h" ]; then
        die "LIBTORCH=$LIBTORCH holds no lib/libtorch_cpu with include/: unset it to fetch $torch"
    fi
    if [ -e "$LIBTORCH/build-version" ]; then
        have=$(cat "$LIBTORCH/build-version")
    elif [ -e "$LIBTORCH/version.py" ]; then
        have=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$LIBTORCH/version.py")
    fi
    if [ -n "$have" ] && [ "${have%%+*}" != "$torch" ] &&
        [ -z "${LIBTORCH_BYPASS_VERSION_CHECK:-}" ]; then
        die "LIBTORCH=$LIBTORCH is version $have, not $torch: unset it to fetch $torch"
    fi
}

# fetch FOLDER KIND: FOLDER appears whole, with its mark, or not at all. The lock is the kernel's,
# so it ends with its holder, however that ends.
fetch() {
    ARCRUN_TORCH=$torch python3 - "$@" <<'PYTHON' || die "libtorch was not fetched"
import contextlib, ctypes, fcntl, glob, os, shutil, signal, subprocess, sys, tempfile, zipfile

version = os.environ["ARCRUN_TORCH"]
folder, kind = sys.argv[1:]
linux = sys.platform.startswith("linux")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def say(text):
    print("run.sh:", text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def lock(path):
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another fetch of libtorch to end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def download(into, *what):
    # The wheel's Python version is irrelevant: no Python of it is used.
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check",
               "--only-binary=:all:", "--python-version", "3.11", "--dest", into, *what]
    # pip's own temporary files are as large as the wheels: not into a small /tmp.
    code = subprocess.call(command, stdout=sys.stderr, env=dict(os.environ, TMPDIR=into))
    if code:
        sys.exit("run.sh: pip could not download %s, for the reason above. \"from versions: none\" "
                 "means no network (see PIP_INDEX_URL, HTTPS_PROXY) or no wheel for this system; "
                 "then set LIBTORCH to a libtorch %s of your own" % (what[-1], version))


def cuda_requirements(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = "torch-%s.dist-info/METADATA" % version
        for line in archive.read(metadata).decode().splitlines():
            requirement = line.partition("Requires-Dist: ")[2].partition(";")[0].strip()
            if requirement.startswith(("nvidia-", "cuda-toolkit")):
                yield requirement


def unpack(wheel, into):
    say("unpacking " + os.path.basename(wheel))
    keep = ("torch/lib/", "torch/include/", "torch/version.py", "torch.libs/", "nvidia/")
    with zipfile.ZipFile(wheel) as archive:  # checks each file's CRC
        names = [n for n in archive.namelist() if n.startswith(keep) or ".dist-info/" in n]
        archive.extractall(into, names)
    os.remove(wheel)


def fetch(work):
    gigabytes = 16 if kind == "cu130" else 3
    if shutil.disk_usage(work).free < gigabytes << 30:
        sys.exit("run.sh: %s has less than the %d GB free that fetching needs: free some, or set "
                 "XDG_CACHE_HOME" % (os.path.dirname(folder), gigabytes))
    say("fetching libtorch %s (%s), about %s, into %s"
        % (version, kind, "2.5 GB" if kind == "cu130" else "550 MB", folder))
    wheels, tree = os.path.join(work, "wheels"), os.path.join(work, "libtorch")
    os.mkdir(wheels)
    os.mkdir(tree)
    download(wheels, "--no-deps", "torch==" + version)
    if linux:
        (torch,) = glob.glob(os.path.join(wheels, "torch-*.whl"))
        small = ["cuda-toolkit[cudart,cupti]==13.0.2"]  # what libtorch_cpu itself links
        headers = "cuda-toolkit[cccl,crt]==13.0.2"  # what cuda_runtime.h and cuda_fp16.h include
        download(wheels, *(small if kind == "cpu" else [headers, *cuda_requirements(torch)]))
    for wheel in sorted(glob.glob(os.path.join(wheels, "*.whl"))):
        unpack(wheel, tree)
    library = "libtorch_cpu.so" if linux else "libtorch_cpu.dylib"
    ctypes.CDLL(os.path.join(tree, "torch", "lib", library))
    with open(os.path.join(tree, ".arcrun-complete"), "w") as mark:
        mark.write("%s %s\n" % (version, kind))
    os.sync()
    if os.path.isdir(folder):  # without a mark: not ours, or of an older form
        os.rename(folder, os.path.join(work, "old"))
    os.rename(tree, folder)


try:
    with lock(folder + ".lock"):
        if os.path.exists(os.path.join(folder, ".arcrun-complete")):
            sys.exit()
        for left in glob.glob(glob.escape(folder) + ".tmp-*"):  # of one that was killed
            shutil.rmtree(left, ignore_errors=True)
        work = tempfile.mkdtemp(prefix=os.path.basename(folder) + ".tmp-",
                                dir=os.path.dirname(folder))
        try:
            fetch(work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        say("libtorch %s is ready" % version)
except KeyboardInterrupt:
    sys.exit(130)
except (OSError, zipfile.BadZipFile) as error:
    sys.exit("run.sh: %s" % error)
PYTHON
}

# --- commands ------------------------------------------------------------------------------------

# Cargo reads .cargo/config.toml from the working folder upwards, so it works in the checkout.
build() { (cd "$root" && cargo build --release --locked); }

check_tools
case ${1:-} in
    setup) setup ;;
    build)
        setup
        build
        ;;
    test)
        setup
        shift
        cd "$root"
        exec cargo test --locked --no-fail-fast "$@"
        ;;
    *)
        setup
        build
        target=$(cd "$root" && cargo metadata --no-deps --format-version 1 |
            sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
        exec "$target/release/run" "$@"
        ;;
esac
