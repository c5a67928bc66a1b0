#!/bin/sh
# Resolve locks/*.in into locks/*.txt in scratch environments. Usage: sh locks/resolve.sh [python3]
set -eu
python=${1:-python3}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m venv "$scratch/rules"
"$scratch/rules/bin/pip" install --quiet -r "$here/rules.in"
"$scratch/rules/bin/pip" check
"$scratch/rules/bin/pip" freeze | LC_ALL=C sort -f > "$here/rules.txt"

"$scratch/rules/bin/pip" install --quiet -r "$here/dev.in" -c "$here/rules.txt"
"$scratch/rules/bin/pip" check
"$scratch/rules/bin/pip" freeze | LC_ALL=C sort -f > "$scratch/all.txt"
LC_ALL=C comm -13 "$here/rules.txt" "$scratch/all.txt" > "$here/dev.txt"

# The two packages the Slurm plug-in needs newer than the rules can bear are the only ones allowed to differ.
grep -vi -e '^numpy==' -e '^pyyaml==' "$scratch/all.txt" > "$scratch/shared.txt"
"$python" -m venv "$scratch/runner"
"$scratch/runner/bin/pip" install --quiet -r "$here/runner.in" -c "$scratch/shared.txt"
"$scratch/runner/bin/pip" check
"$scratch/runner/bin/pip" freeze | LC_ALL=C sort -f > "$here/runner.txt"
