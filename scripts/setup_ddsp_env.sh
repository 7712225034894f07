#!/bin/sh
# Sets up Google Magenta's ddsp 3.7.0 in an environment of its own (2.3 GB, about a minute), for scripts/ddsp_golden.py
# and scripts/bench_ddsp.py. It cannot share one with torch.
#
#     scripts/setup_ddsp_env.sh [FOLDER]        # .venv-ddsp by default
#
# PYTHON names another Python 3.11. `crepe` is left out: its build fetches weights; the scripts do without it.
set -eu

folder=${1:-.venv-ddsp}
python=${PYTHON:-python3.11}
requirements=$(dirname "$0")/ddsp_requirements.txt

if ! command -v "$python" >/dev/null; then
    echo "$python is not there: install Python 3.11, or name it with PYTHON=" >&2
    exit 1
fi
if [ -x "$folder/bin/python" ] && cmp -s "$requirements" "$folder/requirements.txt"; then
    echo "$folder is ready"
    exit 0
fi
"$python" -m venv "$folder"
"$folder/bin/pip" install --quiet 'pip>=24' wheel 'setuptools<66'
"$folder/bin/pip" install --quiet --no-deps --no-build-isolation -r "$requirements"
cp "$requirements" "$folder/requirements.txt"
echo "$folder is ready"
