"""The kernel's own NFS server inside the guest: what a script does on ordinary files over NFS.

The same script is run there and on the gateway; final bytes, exit code and left-over names must
agree.
"""

SETUP = """
set -e
mkdir -p /run/oracle-export /run/oracle
modprobe -d /run/modules nfsd 2>/dev/null || modprobe nfsd
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mkdir -p /var/lib/nfs/v4recovery /run/rpcbind
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/state
pidof rpcbind >/dev/null || rpcbind -w
mount -t tmpfs tmpfs /run/oracle-export
exportfs -i -o rw,no_root_squash,insecure,fsid=1,no_subtree_check '*:/run/oracle-export'
rpc.nfsd -V3 -N4 2
rpc.mountd -p 20048
for try in 1 2 3 4 5 6 7 8 9 10; do
    mount -t nfs -o "$OPTIONS,port=2049,mountport=20048" 127.0.0.1:/run/oracle-export /run/oracle &&
        exit 0
    sleep 0.3
done
exit 1
"""


class Oracle:
    """Lazily started; lives as long as the guest."""

    def __init__(self, guest, options):
        self.guest = guest
        self.options = options
        self.generation = 0
        self.count = 0

    def directory(self):
        """A new directory on the kernel's server, not made yet, as a path in the guest."""
        if self.generation != self.guest.generation:
            self.guest.check(SETUP, 60, {"OPTIONS": self.options})
            self.generation = self.guest.generation
        self.count += 1
        return f"/run/oracle/d{self.count}"
