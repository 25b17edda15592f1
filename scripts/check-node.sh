#!/usr/bin/env bash
# Azurite needs Node.js 20 or newer, with npm.
set -euo pipefail
if ! command -v npm >/dev/null 2>&1 || ! command -v node >/dev/null 2>&1; then
    echo "Node.js and npm were not found. Install Node.js 20 or newer: nodejs.org, 'nvm install 20', or your system's package." >&2
    exit 1
fi
if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20)'; then
    echo "Node.js is $(node --version); 20 or newer is needed: nodejs.org or 'nvm install 20'." >&2
    exit 1
fi
