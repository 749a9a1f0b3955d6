#!/usr/bin/env bash
# Writes deploy/requirements/*.txt anew: every package of each image, at the version that
# constraints.txt pins, with the hashes of its files. Run after a change of either:
#     make lock
set -euo pipefail
cd "$(dirname "$0")/.."
UV=${UV:-.venv/bin/uv}
lock() {  # name, extras, more options
  local extras=()
  for extra in $2; do extras+=(--extra "$extra"); done
  "$UV" pip compile --quiet --no-progress --universal --python-version 3.11 --generate-hashes \
    --no-annotate --custom-compile-command "make lock" -c constraints.txt "${extras[@]}" \
    "${@:3}" pyproject.toml -o "deploy/requirements/$1.txt"
}
lock ui "ui serve remote"
lock ingest "remote"
lock train "train"
# onnxruntime-gpu has the same modules as onnxruntime and takes its place.
overrides=$(mktemp)
trap 'rm -f "$overrides"' EXIT
echo "onnxruntime ; sys_platform == 'never'" >"$overrides"
lock ingest-gpu "remote gpu" --override "$overrides"
# What builds the package itself.
echo 'setuptools==80.9.0' | "$UV" pip compile --quiet --generate-hashes --no-annotate \
  --custom-compile-command "make lock" - -o deploy/requirements/build.txt
