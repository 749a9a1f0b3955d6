#!/usr/bin/env bash
# Prints two fresh keys for .env: deploy/make_keys.sh >> .env
set -euo pipefail
key() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
echo "SCENESEARCH_QDRANT_API_KEY=$(key)"
echo "SCENESEARCH_QDRANT_READ_ONLY_API_KEY=$(key)"
