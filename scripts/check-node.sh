#!/usr/bin/env bash
# Azurite needs Node.js 20 or newer, with npm.
set -euo pipefail
least=20
if ! command -v npm >/dev/null 2>&1 || ! command -v node >/dev/null 2>&1; then
    echo "Node.js and npm were not found. Install Node.js $least or newer: nodejs.org, 'nvm install $least', or your system's package." >&2
    exit 1
fi
version=$(node --version)
major=${version#v}
if [ "${major%%.*}" -lt "$least" ]; then
    echo "Node.js is $version; $least or newer is needed: nodejs.org or 'nvm install $least'." >&2
    exit 1
fi
