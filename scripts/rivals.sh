#!/bin/sh
# Makes a virtual environment with every library that bench.py times:
#     sh scripts/rivals.sh [FOLDER]            (default: .venv-bench)
#     FOLDER/bin/python scripts/bench.py
# PyPI has most of them. The others are cloned from GitHub, at the commit that was measured, and
# linked into the environment, since not all of them can be installed. jaxKAN needs Python 3.11 or
# 3.12 (PYTHON=... picks it), torch.compile a C++ compiler on a CPU.
set -eu
cd "$(dirname "$0")/.."
venv=${1:-.venv-bench}
"${PYTHON:-python3}" -m venv "$venv"
venv=$(cd "$venv" && pwd)
python="$venv/bin/python"

"$python" -m pip install --editable '.[demo]' torch==2.13.0
"$python" -m pip install --no-deps flashkan==0.2.0 inkan==0.5.2 pykan==0.2.8 kanditioned==1.0.4
"$python" -m pip install scikit-learn sympy pandas pyyaml tqdm  # what pykan imports
if command -v nvidia-smi > /dev/null; then jaxkan='jaxkan[gpu]'; else jaxkan=jaxkan; fi
"$python" -m pip install "$jaxkan==0.3.7"

packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$venv/sources"

# from_github REPOSITORY COMMIT PACKAGE: the package is a folder or a file of the repository.
from_github() {
    clone="$venv/sources/$(basename "$1")"
    test -d "$clone" || git clone --quiet "https://github.com/$1" "$clone"
    git -C "$clone" checkout --quiet "$2"
    ln -sfn "$clone/$3" "$packages/$(basename "$3")"
}

from_github Blealtan/efficient-kan 7b6ce1c87f18c8bc90c208f6b494042344216b11 src/efficient_kan
from_github ZiyaoLi/fast-kan 17b65401c252334fffb5e63c9852dd8316d29e69 fastkan
from_github AthanasiosDelis/faster-kan 3bcabc25c1ed5bceb04d58a8c73756a9fe54e81b fasterkan
from_github SynodicMonth/ChebyKAN 5f7efdd18e749bcc99481bd87dc90bdeafb920d8 ChebyKANLayer.py
from_github dinesh110598/FlashKAN bea4af356e759d3d47efa234f7589e8ed746bc68 layers
