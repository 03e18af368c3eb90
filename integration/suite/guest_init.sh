#!/bin/bash
# First process of the User Mode Linux guest: prepares it and becomes the command agent.
# The root file system is the host's own, read-only; everything writable is tmpfs, except the
# share, which is one directory of the host.
# Kernel command line: share=<host directory> addr=<guest address/prefix> agent_port=<port>
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for word in $(</proc/cmdline); do
    case $word in
        share=*) share=${word#share=} ;;
        addr=*) addr=${word#addr=} ;;
        agent_port=*) agent_port=${word#agent_port=} ;;
    esac
done
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for dir in /dev/shm /run /tmp /var/tmp /root /var/lib/nfs; do
    [ -d "$dir" ] && mount -t tmpfs -o mode=1777 tmpfs "$dir"
done
mkdir -p /run/share /run/it /run/modules/lib /run/lock
mount -t hostfs none /run/share -o "$share"
ln -s /usr/lib/uml/modules /run/modules/lib/modules
modprobe -d /run/modules nfsv3
ip link set lo up
ip addr add "$addr" dev vec0
ip link set vec0 up
hostname guest
exec /usr/bin/python3 /run/share/guest_agent.py "${addr%/*}" "$agent_port" /run/it /run/share
