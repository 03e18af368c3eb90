#!/usr/bin/env bash
# Mounts a Mountable gateway on Linux with the options that its semantics are written for.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: mount_linux.sh [OPTION...] DIRECTORY
Mounts a Mountable gateway on DIRECTORY (made if it is missing). Needs root and mount.nfs
(Debian, Ubuntu: nfs-common; Fedora, SUSE: nfs-utils or nfs-client).
  --host HOST        machine of the gateway (default 127.0.0.1)
  --port PORT        its NFS port (default 12049)
  --path PATH        part of the tree: /, /org or /org/super (default /)
  --read-only        refuses every write on this machine
  --async            faster bulk writes; but `echo row >> table.csv` in a shell then succeeds
                     even if the table refuses the row (programs that check close still see it)
  --options LIST     more mount options, at the end, so that they win
  --read-ahead KIB   what the kernel reads in advance (default 16384; 0 = leave as it is)
  --dry-run          prints the commands instead of running them
EOF
}

host=127.0.0.1
port=12049
path=/
access=rw
waiting=sync
more=
read_ahead_kib=16384
dry_run=no
directory=

die() {
    echo "mount_linux.sh: $1" >&2
    exit "${2:-1}"
}

while (($#)); do
    case $1 in
        --host) host=${2:?--host takes a name} && shift ;;
        --port) port=${2:?--port takes a number} && shift ;;
        --path) path=${2:?--path takes a path} && shift ;;
        --options) more=,${2:?--options takes a list} && shift ;;
        --read-ahead) read_ahead_kib=${2:?--read-ahead takes a number} && shift ;;
        --read-only) access=ro ;;
        --async) waiting=async ;;
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
[[ $read_ahead_kib =~ ^[0-9]+$ ]] || die "not a number of KiB: $read_ahead_kib" 2
[[ $path == /* ]] || die "the path must begin with /: $path" 2
[[ $host == *:* && $host != \[* ]] && host="[$host]"

# vers=3..mountproto: the gateway speaks NFSv3 and MOUNT on one TCP port, without a portmapper.
# nolock: locks are kept on this machine. hard: an outage waits instead of losing writes.
# actimeo=1, lookupcache=pos: what others save is seen within a second.
# sync: each write waits for the table's verdict, so that its exit code is the truth.
options="$access,vers=3,proto=tcp,port=$port,mountport=$port,mountproto=tcp,nolock,hard"
options+=",timeo=600,retrans=2,rsize=1048576,wsize=1048576,actimeo=1,lookupcache=pos"
options+=",nosuid,nodev,$waiting$more"

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

# The kernel asks for little in advance by default: a table then arrives at a fraction of the speed.
raise_read_ahead() {
    local device file
    ((read_ahead_kib > 0)) || return 0
    if [ "$dry_run" = yes ]; then
        device="\$(mountpoint -d $(quoted "$directory"))"
        echo "echo $read_ahead_kib > /sys/class/bdi/$device/read_ahead_kb"
        return 0
    fi
    device=$(mountpoint -d "$directory")
    file=/sys/class/bdi/$device/read_ahead_kb
    if ! { echo "$read_ahead_kib" >"$file"; } 2>/dev/null; then
        echo "mount_linux.sh: mounted, but $file could not be set" >&2
    fi
}

if [ "$dry_run" = no ]; then
    [ "$(id -u)" = 0 ] || die "needs root: sudo $0 ..."
    PATH=$PATH:/usr/sbin:/sbin type -P mount.nfs >/dev/null ||
        die "mount.nfs is missing: install nfs-common (Debian, Ubuntu) or nfs-utils (Fedora)"
fi
run mkdir -p -- "$directory"
run mount -t nfs -o "$options" "$host:$path" "$directory"
raise_read_ahead
