#!/usr/bin/env bash
# Finishes pending saves and unmounts a Mountable directory, on Linux and macOS.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: umount.sh [--force] [--dry-run] DIRECTORY
  --force     unmounts even if the gateway is gone or files are open (unsaved changes are lost)
  --dry-run   prints the commands instead of running them
EOF
}

force=no
dry_run=no
directory=
while (($#)); do
    case $1 in
        --force) force=yes ;;
        --dry-run) dry_run=yes ;;
        -h | --help) usage && exit 0 ;;
        -*) usage >&2 && exit 2 ;;
        *) directory=$1 ;;
    esac
    shift
done
[ -n "$directory" ] || { usage >&2 && exit 2; }

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

# Only the root of a whole mount has the control file; sub-trees are finished by unmounting.
finish_saves() {
    if [ "$dry_run" = yes ]; then
        echo "echo sync > $(quoted "$directory/.control")"
    elif [ -e "$directory/.control" ] && ! echo sync >"$directory/.control"; then
        echo "umount.sh: a pending save was refused; see errors.csv beside its table" >&2
        exit 1
    fi
}

if [ "$force" = yes ]; then
    if [ "$(uname -s)" = Darwin ]; then
        run umount -f "$directory"
    else
        run umount -f -l "$directory"
    fi
else
    finish_saves
    run umount "$directory"
fi
