#!/usr/bin/env bash
# Make a virtual environment of Python 3.13, from wherever one is: PATH, pyenv, or uv.
set -euo pipefail
venv=$1

is_313() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; }

if [ -x "$venv/bin/python" ] && is_313 "$venv/bin/python"; then exit 0; fi
rm -rf "$venv"

for candidate in python3.13 python3 python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13*/bin/python; do
    if command -v "$candidate" >/dev/null 2>&1 && is_313 "$candidate"; then
        echo "Making $venv with $("$candidate" --version) …"
        exec "$candidate" -m venv "$venv"
    fi
done
if command -v uv >/dev/null 2>&1; then
    echo "Making $venv with Python 3.13 by uv …"
    exec uv venv --quiet --seed --python 3.13 "$venv"
fi
cat >&2 <<'TEXT'
Python 3.13 was not found on PATH or under pyenv, and there is no uv to install it. Any one of these helps:
  uv:      see docs.astral.sh/uv, then run this command again (it brings Python 3.13 itself)
  pyenv:   pyenv install 3.13
  Debian or Ubuntu: apt-get install python3.13 python3.13-venv (where the release has it)
TEXT
exit 1
