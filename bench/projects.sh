#!/usr/bin/env bash
# What the language servers of `python -m bench relay_real` work on, in a folder of its own; nothing is installed.
#
#     bench/projects.sh [FOLDER]
#
# zod comes from npm; regex-syntax and Rust's library come from Debian. The other projects are there already: pygls and
# Arrow's C++ with the benchmark's Python, Go's encoding/xml with gopls.
set -euo pipefail

folder=${1:-${CODETRIAL_PROJECTS:-${XDG_CACHE_HOME:-$HOME/.cache}/codetrial/projects}}
mkdir -p "$folder"
cd "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -d zod ]; then
  (cd "$work" && npm pack --silent zod@4.1.12 >/dev/null && tar -xzf zod-*.tgz)
  mv "$work/package" zod
fi
if [ ! -d regex-syntax ] || [ ! -d rust-library ]; then
  # apt drops root's rights for a download, and may not write here then.
  (cd "$work" && apt-get -q -o APT::Sandbox::User=root download librust-regex-syntax-dev rust-src >/dev/null)
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
  rm -rf regex-syntax rust-library
  mv "$work"/root/usr/share/cargo/registry/regex-syntax-* regex-syntax
  mv "$work"/root/usr/src/rustc-*/library rust-library
fi
