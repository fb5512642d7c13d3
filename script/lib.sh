# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What script/demo, script/secrets and script/test share. Sourced, not run.
#
#   fail <sentence>               say what is wrong and stop
#   phase <what> <command>...     run a long step: one line with its seconds; its output only if it fails
#   reason                        why the last phase failed, if Ansible said so
#   install_packages [package]... install missing Debian packages: these, and those that every script needs
#   make_venv controller|test     make .venv, from hashed pins

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly repository
# Where phase keeps its logs; a script may choose another directory before its first phase.
log_directory=${log_directory:-$repository/.demo/log}

# The venv's tools come first. script/podman works around what would break Podman on this machine.
export PATH=$repository/.venv/bin:$repository/script/podman:$PATH
# So that the scripts use this repository, from whatever directory they are called.
export ANSIBLE_CONFIG=$repository/ansible.cfg

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

# Runs a command with its output in a log, and shows that it is alive: on a terminal by the seconds, elsewhere by a line
# each half minute. The command doesn't inherit the script's locks (8, 9), which a long-lived child would keep.
phase() {
  local what=$1 log result=0 started=$SECONDS pid next_line=30
  shift
  mkdir -p "$log_directory"
  log=$log_directory/$(printf '%s' "$what" | tr -cs '[:alnum:]' '-').log
  last_log=$log
  # A separate process group, so that Ctrl-C ends all of it and not only the shell in front.
  set -m
  "$@" >"$log" 2>&1 </dev/null 8>&- 9>&- &
  pid=$!
  set +m
  # shellcheck disable=SC2064 # this pid
  trap "kill -- -$pid 2>/dev/null; exit 130" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    if [[ -t 1 ]]; then
      printf '\r%-44s %4ss ' "$what" "$((SECONDS - started))"
    elif ((SECONDS - started >= next_line)); then
      printf '%-44s %4ss ...\n' "$what" "$((SECONDS - started))"
      next_line=$((next_line + 30))
    fi
    sleep 1 &
    wait -n "$pid" "$!" 2>/dev/null || true
  done
  wait "$pid" || result=$?
  trap - INT TERM
  [[ ! -t 1 ]] || printf '\r'
  if ((result == 0)); then
    printf '%-44s %4ss  ok\n' "$what" "$((SECONDS - started))"
    return
  fi
  printf '%-44s %4ss  FAILED\n' "$what" "$((SECONDS - started))"
  cat "$log" >&2
  return "$result"
}

reason() {
  local line
  line=$(sed -nE '/^\[ERROR\]: /{s/^\[ERROR\]: (Task failed: )?((Module|Action) failed: )?//p;q}' "$last_log")
  [[ -n $line && $line != "non-zero return code" ]] || line="see above"
  printf '%s\n' "$line"
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

is_installed() { [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# Packages that throwaway servers need.
# shellcheck disable=SC2034 # for the scripts that source this
readonly -a server_packages=(podman runc netavark aardvark-dns iptables nftables mmdebstrap debian-archive-keyring)

install_packages() {
  local package
  local -a missing=()
  if ! command -v dpkg-query >/dev/null; then
    # Not Debian: check for the programs, whatever packages they come from.
    for package in git ssh ssh-keygen "$@"; do
      case $package in
        netavark | aardvark-dns | *tables | *-keyring) ;; # part of podman, or only on Debian
        *) command -v "$package" >/dev/null || missing+=("$package") ;;
      esac
    done
    ((${#missing[@]} == 0)) || fail "please install these programs: ${missing[*]} (apt is not available to do it)"
    return
  fi
  for package in python3 python3-venv git openssh-client curl procps util-linux "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || fail "please install these packages: ${missing[*]} (apt-get is not available to do it)"
  ((EUID == 0)) || sudo -kn true 2>/dev/null || fail "please install these packages: apt-get install ${missing[*]}"
  phase "apt-get update" as_root apt-get update
  phase "apt-get install (${#missing[@]} packages)" \
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
}

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# Finds a Python for the pinned tools. Not the venv's own, which may have to be replaced. The distribution's comes first:
# it is compiled for speed. One compiled on the machine mostly isn't, and plays take a quarter longer with it.
find_python() {
  local python PATH=${PATH//"$repository/.venv/bin:"/}
  for python in "${GREENLIGHT_PYTHON:-/usr/bin/python3}" python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}

fill_venv() {
  local python=$1 lock=$2
  if ! "$repository/.venv/bin/pip" --version 2>/dev/null | grep -qF "$repository/.venv/"; then
    [[ ! -L $repository/.venv ]] || rm "$repository/.venv" # its target is somebody else's, and --clear would empty it
    "$python" -m venv --clear "$repository/.venv"
  fi
  "$repository/.venv/bin/python" -m pip install --no-compile --require-hashes --disable-pip-version-check --requirement "$lock" &&
    compile_venv
}

# Skips Ansible's collections, nine tenths of the files: Ansible compiles those itself, in memory.
compile_venv() {
  local site
  site=$("$repository/.venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))') || return
  # Some packages hold files for other Pythons, which don't compile.
  "$repository/.venv/bin/python" -m compileall -q --workers 0 -x /ansible_collections/ "$site" || true
}

# Makes .venv, unless it was made from the same pins. One made for the tests serves the demo too.
make_venv() {
  local lock record=$repository/.venv/greenlight-requirements known=""
  lock=$repository/requirements/$1.txt
  [[ ! -r $record ]] || known=$(<"$record")
  # The record includes the path: the programs in a venv contain it, so a moved venv is made again.
  if [[ -x $repository/.venv/bin/python && $known == "$repository"$'\n'*"$(digest "$lock")"* ]]; then
    return
  fi
  local python
  python=$(find_python) || fail "Python 3.11 or newer with venv is needed (Debian: apt-get install python3-venv)"
  phase "Python tools into .venv" fill_venv "$python" "$lock" || fail "pip could not fill .venv"
  {
    printf '%s\n' "$repository"
    digest "$lock"
    # The pins for the tests hold those for the controller.
    [[ $1 != test ]] || digest "$repository/requirements/controller.txt"
  } >"$record"
}
