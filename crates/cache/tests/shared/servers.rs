//! Real servers, started by a test on a free port in a directory of their own, and killed with it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use inkstone_cache::{Address, Remote};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A server process.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    scheme: &'static str,
    _directory: TempDir,
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn answers(port: u16) {
    for _ in 0..3000 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing listens on port {port}");
}

impl Server {
    pub(crate) async fn redis() -> Self {
        Self::redis_at(free_port(), &[]).await
    }

    pub(crate) async fn redis_at(port: u16, more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(more).arg("--dir").arg(directory.path());
        Self::start(command, port, "redis", directory).await
    }

    /// A sentinel, one of three that watch the master on this port.
    pub(crate) async fn sentinel(master: u16) -> Self {
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        let file = directory.path().join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor mymaster 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n",
            directory.path().display()
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        Self::start(command, port, "redis", directory).await
    }

    pub(crate) async fn memcached() -> Self {
        let port = free_port();
        let mut command = Command::new("memcached");
        command.args(["-p", &port.to_string(), "-l", "127.0.0.1", "-U", "0", "-u", "nobody", "-m", "32"]);
        Self::start(command, port, "memcached", tempfile::tempdir().unwrap()).await
    }

    async fn start(mut command: Command, port: u16, scheme: &'static str, directory: TempDir) -> Self {
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = started.unwrap_or_else(|error| {
            panic!("{command:?}: {error}. Debian has it: apt-get install redis-server memcached")
        });
        let server = Self { child, port, scheme, _directory: directory };
        answers(port).await;
        server
    }

    /// The tier that it is, without a deadline of its own that a busy machine could miss.
    pub(crate) fn remote(&self) -> Arc<dyn Remote> {
        self.remote_within(Duration::from_secs(2))
    }

    pub(crate) fn remote_within(&self, patience: Duration) -> Arc<dyn Remote> {
        let address: Address = format!("{}://127.0.0.1:{}", self.scheme, self.port).parse().unwrap();
        address.open(patience)
    }

    /// Sends a signal such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is gone, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the tier answers: its connection is made when it is first wanted.
pub(crate) async fn connected(remote: Arc<dyn Remote>) -> Arc<dyn Remote> {
    for _ in 0..3000 {
        if remote.ping().await.is_ok() {
            return remote;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{remote:?} does not answer");
}
