#!/usr/bin/env bash
# Mounts a Mountable gateway on macOS.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: mount_macos.sh [OPTION...] DIRECTORY
Mounts a Mountable gateway on DIRECTORY (made if it is missing).
  --host HOST      machine of the gateway (default 127.0.0.1)
  --port PORT      its NFS port (default 12049)
  --path PATH      part of the tree: /, /org or /org/super (default /)
  --read-only      refuses every write on this machine
  --async          faster bulk writes; the shell's `echo row >> table.csv` may then hide a refusal
  --options LIST   more mount options, at the end, so that they win
  --dry-run        prints the commands instead of running them
EOF
}

host=127.0.0.1
port=12049
path=/
access=rw
waiting=,sync
more=
dry_run=no
directory=

die() {
    echo "mount_macos.sh: $1" >&2
    exit "${2:-1}"
}

while (($#)); do
    case $1 in
        --host) host=${2:?--host takes a name} && shift ;;
        --port) port=${2:?--port takes a number} && shift ;;
        --path) path=${2:?--path takes a path} && shift ;;
        --options) more=,${2:?--options takes a list} && shift ;;
        --read-only) access=ro ;;
        --async) waiting= ;;
        --dry-run) dry_run=yes ;;
        -h | --help) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *)
            [ -z "$directory" ] || die "one DIRECTORY, please" 2
            directory=$1
            ;;
    esac
    shift
done
[ -n "$directory" ] || { usage >&2 && exit 2; }
[[ $port =~ ^[0-9]+$ ]] || die "not a port: $port" 2
[[ $path == /* ]] || die "the path must begin with /: $path" 2
[[ $host == *:* && $host != \[* ]] && host="[$host]"

# locallocks, not nolocks: with the latter flock() fails in programs.
# nonegnamecache: a table made elsewhere is found at once. nobrowse: Finder does not index it.
options="$access,vers=3,tcp,port=$port,mountport=$port,locallocks,hard,intr,rsize=1048576"
options+=",wsize=1048576,actimeo=1,nonegnamecache,nobrowse,nosuid,nodev$waiting$more"

# Words as a shell would take them, quoted only where they must be.
quoted() {
    local word text=
    for word in "$@"; do
        [[ $word =~ ^[][A-Za-z0-9_/.,:=@%+-]+$ ]] || word=$(printf %q "$word")
        text+="$word "
    done
    echo "${text% }"
}

run() {
    if [ "$dry_run" = yes ]; then quoted "$@"; else "$@"; fi
}

if [ "$dry_run" = no ]; then
    [ "$(uname -s)" = Darwin ] || die "this is the script for macOS; see mount_linux.sh"
    type -P mount_nfs >/dev/null || die "mount_nfs is missing"
fi
run mkdir -p "$directory"
run mount_nfs -o "$options" "$host:$path" "$directory"
