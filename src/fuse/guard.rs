//! Takes the mount away when the gateway dies without unmounting.
//!
//! A small shell waits at the end of a pipe. When the gateway is gone the pipe ends, and the shell
//! unmounts the directory if nothing answers there any more; a gateway that was started again in
//! the meantime does. `fusermount3 -o auto_unmount` does the same, but not for mounts that are
//! their owner's alone.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Reads until the pipe ends. Signals that end the gateway must not end the shell first.
const SCRIPT: &str = "trap '' INT TERM HUP; read -r x; [ \"$x\" = stop ] && exit; \
    ls -d \"$0/.\" >/dev/null 2>&1 && exit; \
    umount -l \"$0\" 2>/dev/null || fusermount3 -u -z \"$0\" 2>/dev/null";

/// The shell; dropping it sends it away.
#[derive(Debug)]
pub(super) struct Guard {
    child: Option<(Child, ChildStdin)>,
}

impl Guard {
    /// Begins to watch; a machine without a shell goes without.
    pub(super) fn start(dir: &Path) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT]).arg(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir("/").process_group(0);
        let child = match command.spawn() {
            Ok(mut child) => child.stdin.take().map(|stdin| (child, stdin)),
            Err(error) => {
                tracing::warn!(%error, "nobody unmounts if this process is killed");
                None
            }
        };
        Self { child }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        use std::io::Write;
        let Some((mut child, mut stdin)) = self.child.take() else { return };
        if stdin.write_all(b"stop\n").is_err() {
            tracing::debug!("the guard of the mount was gone");
        }
        drop(stdin);
        if let Err(error) = child.wait() {
            tracing::debug!(%error, "wait for the guard of the mount");
        }
    }
}
