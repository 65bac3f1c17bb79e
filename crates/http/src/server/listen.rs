//! Sockets that listen, and what to do when accepting fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Files that a process needs besides its connections: database, logs, outgoing requests.
const RESERVED_FILES: usize = 64;

/// Opens a listening socket. An unspecified IPv6 address (`[::]`) takes IPv4 connections too.
pub(super) fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Else a restart has to wait until the kernel forgot the connections of the process before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// How many connections this process can have open: `wanted`, or fewer when it may not open so many files.
pub(super) fn affordable_connections(wanted: usize) -> usize {
    let Some(files) = std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files_limit) else {
        return wanted;
    };
    let affordable = files.saturating_sub(RESERVED_FILES).max(1);
    if affordable < wanted {
        tracing::warn!(
            server.max_connections = affordable,
            server.wanted_connections = wanted,
            process.max_files = files,
            "fewer connections are accepted than configured, since the process may not open more files; raise its limit (ulimit -n, LimitNOFILE)"
        );
    }
    wanted.min(affordable)
}

/// Reads the soft limit of open files from the text of `/proc/self/limits`.
fn open_files_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether accepting failed because there are no files left. The numbers of ENFILE and EMFILE are the same on every
/// Unix.
pub(super) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Whether only the one connection that was to be accepted has failed.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// How long to wait after a failure: longer after each, until one accept works again.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    failures: u32,
}

impl BackOff {
    /// Counts a failure. The first of a row is to be logged.
    pub(super) fn failed(&mut self) -> (bool, Duration) {
        let wait = Duration::from_millis(10 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        (self.failures == 1, wait)
    }

    /// Ends a row of failures, and says whether there was one.
    pub(super) fn worked(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_files_is_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             127                  127                  processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_limit(text), Some(1024));
        assert_eq!(open_files_limit("Max open files            unlimited            unlimited            files"), None);
        assert_eq!(open_files_limit(""), None);
    }

    #[test]
    fn back_off_grows_to_a_bound_and_forgets() {
        let mut back_off = BackOff::default();
        assert!(!back_off.worked());
        assert_eq!(back_off.failed(), (true, Duration::from_millis(10)));
        assert_eq!(back_off.failed(), (false, Duration::from_millis(20)));
        for _ in 0..100 {
            assert!(back_off.failed().1 <= Duration::from_millis(640));
        }
        assert!(back_off.worked());
        assert_eq!(back_off.failed(), (true, Duration::from_millis(10)));
    }
}
