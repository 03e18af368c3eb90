//! Mount commands: the options that were found right (docs/CLI.md says why), printed for people
//! and run for `demo --mount`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, ErrorKind, Result};

/// Bytes of one READ or WRITE.
const TRANSFER_BYTES: u32 = 1 << 20;

/// Options for Linux. `sync` makes each write wait for its verdict, so that `echo >>` fails when
/// the row is refused.
pub(super) fn linux_options(port: u16) -> String {
    format!(
        "vers=3,proto=tcp,port={port},mountport={port},mountproto=tcp,nolock,hard,timeo=600,\
         retrans=2,rsize={TRANSFER_BYTES},wsize={TRANSFER_BYTES},actimeo=1,lookupcache=pos,sync,\
         nosuid,nodev"
    )
}

/// Options for macOS.
pub(super) fn macos_options(port: u16) -> String {
    format!(
        "vers=3,tcp,port={port},mountport={port},locallocks,hard,intr,sync,\
         rsize={TRANSFER_BYTES},wsize={TRANSFER_BYTES},actimeo=1,nonegnamecache,nobrowse"
    )
}

/// The host to mount from: loopback if the server listens on every address.
pub(super) fn host(address: SocketAddr) -> String {
    match address {
        _ if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// The command for a Linux shell.
pub(super) fn linux_command(address: SocketAddr, dir: &str) -> String {
    let options = linux_options(address.port());
    format!("sudo mount -t nfs -o {options} {}:/ {dir}", host(address))
}

/// The command for a macOS shell.
pub(super) fn macos_command(address: SocketAddr, dir: &str) -> String {
    let options = macos_options(address.port());
    format!("sudo mount_nfs -o {options} {}:/ {dir}", host(address))
}

/// Why this process cannot mount by itself, if it cannot.
pub(super) fn obstacle() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("mounting by itself works on Linux only; use the command below".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some(
            "only root may mount; use the command below, or run this with sudo".to_owned(),
        );
    }
    let systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known = systems.lines().any(|line| line.split_whitespace().last() == Some("nfs"));
    let helper = ["/sbin/mount.nfs", "/usr/sbin/mount.nfs"].iter().any(|p| Path::new(p).exists());
    if !helper {
        return Some(
            "mount.nfs is missing: install nfs-common (Debian, Ubuntu) or nfs-utils (Fedora, Arch)"
                .to_owned(),
        );
    }
    if !known && !load_module() {
        return Some("this kernel has no NFS client (no module `nfs` to load either)".to_owned());
    }
    None
}

fn load_module() -> bool {
    let mut command = Command::new("modprobe");
    command.arg("nfsv3").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Mounts; blocks until mount(8) ends.
///
/// # Errors
/// `Unavailable` with what mount(8) said.
pub(super) fn mount(address: SocketAddr, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let options = linux_options(address.port());
    let source = format!("{}:/", host(address));
    let mut command = Command::new("mount");
    command.args(["-t", "nfs", "-o", &options, &source]).arg(dir);
    run(&mut command, "mount")
}

/// Unmounts; the kernel detaches a busy directory as soon as nobody uses it.
///
/// # Errors
/// `Unavailable` with what umount(8) said.
pub(super) fn unmount(dir: &Path) -> Result<()> {
    let mut command = Command::new("umount");
    command.arg(dir);
    if run(&mut command, "unmount").is_ok() {
        return Ok(());
    }
    let mut command = Command::new("umount");
    command.arg("-l").arg(dir);
    run(&mut command, "unmount")
}

fn run(command: &mut Command, what: &'static str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("start {what}(8)")).caused_by(error)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::unavailable(what).with("it says", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_carry_port_and_the_options_that_report_refusals() {
        let address: SocketAddr = "127.0.0.1:12049".parse().unwrap();
        let linux = linux_command(address, "/mnt/lake");
        assert!(linux.starts_with("sudo mount -t nfs -o vers=3,"));
        assert!(linux.ends_with(" 127.0.0.1:/ /mnt/lake"));
        for option in ["port=12049", "mountport=12049", ",sync,", "nolock", "hard"] {
            assert!(linux.contains(option), "{option}");
        }
        assert!(macos_command(address, "/tmp/lake").contains("locallocks"));
        assert_eq!(host("0.0.0.0:1".parse().unwrap()), "127.0.0.1");
        assert_eq!(host("[::1]:1".parse().unwrap()), "[::1]");
    }
    #[test]
    fn documentation_shows_the_commands_that_are_printed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CLI.md");
        let text = std::fs::read_to_string(path).unwrap();
        let address: SocketAddr = "127.0.0.1:12049".parse().unwrap();
        assert!(text.contains(&linux_command(address, "/mnt/lake")));
        assert!(text.contains(&macos_command(address, "~/lake")));
    }
}
