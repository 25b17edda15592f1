#!/bin/sh
# Before azd packs the Function app: bring the packages that it runs on to where Azure's Python looks for them.
# Azure's own build is not used: it takes another Python than the app has. Wheels for Linux, whatever this machine is.
set -eu
# shellcheck source=infra/hooks/hook.sh
. "$(dirname "$0")/hook.sh"

folder=.python_packages
if cmp -s requirements.txt "$folder/requirements.txt"; then
    say "the packages of requirements.txt are there."
    exit 0
fi
need_program make "your system's package"
make --silent python || stop "the Python environment could not be made; what is above says why."

say "bringing the packages of requirements.txt for the Function app …"
set --
for tag in manylinux_2_28 manylinux_2_17 manylinux2014 manylinux_2_12 manylinux2010 manylinux_2_5 manylinux1; do
    set -- "$@" --platform "${tag}_x86_64"
done
rm -rf "$folder.new"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --only-binary=:all: \
    --implementation cp --python-version 3.13 "$@" --target "$folder.new/lib/site-packages" -r requirements.txt ||
    stop "pip could not bring the packages; what is above says why. Then run the same azd command again."
rm -rf "$folder.new/lib/site-packages/bin"
cp requirements.txt "$folder.new/requirements.txt"
rm -rf "$folder"
mv "$folder.new" "$folder"
say "they are in $folder."
