#!/bin/sh
# Sets up audiomentations and torch-audiomentations beside augrun's own packages (a few MB, seconds), for
# scripts/bench_augment.py: an environment of its own that also sees those of the given Python, so that both are measured
# with the same torch and numpy and augrun's environment stays as it is.
#
#     scripts/setup_augment_env.sh [FOLDER] [PYTHON]        # .venv-augment and .venv/bin/python by default
set -eu

folder=${1:-.venv-augment}
python=${2:-.venv/bin/python}
requirements=$(dirname "$0")/augment_requirements.txt

if [ -x "$folder/bin/python" ] && cmp -s "$requirements" "$folder/requirements.txt"; then
    exit 0
fi
"$python" -m venv "$folder"
there=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$there/augrun.pth"
(cd "$(dirname "$0")/.." && pwd) >> "$there/augrun.pth"
"$folder/bin/python" -m pip install --quiet --no-deps -r "$requirements"
cp "$requirements" "$folder/requirements.txt"
echo "$folder is ready"
