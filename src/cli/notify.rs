//! Tells systemd how the service is doing: one datagram to the socket that it names
//! (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

/// Sends `state` (`READY=1`, `STOPPING=1`) to the notification socket, if there is one. A service
/// manager that does not listen is no reason to stop, so failure is only logged.
pub(super) fn notify(socket: Option<&str>, state: &str) {
    let Some(path) = socket else { return };
    if let Err(error) = send(path, state) {
        tracing::debug!(%error, path, "notify the service manager");
    }
}

#[cfg(target_os = "linux")]
fn send(path: &str, state: &str) -> std::io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send(path: &str, state: &str) -> std::io::Result<()> {
    UnixDatagram::unbound()?.send_to(state.as_bytes(), path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_arrives_as_one_datagram() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        notify(path.to_str(), "READY=1");
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"READY=1");
        notify(Some("/nonexistent/socket"), "READY=1");
        notify(None, "READY=1");
    }
}
