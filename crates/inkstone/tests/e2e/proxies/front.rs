//! haproxy and nginx, started in front of an address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::UnixStream;

/// What the proxies' names for requests begin with. Nobody else knows it.
pub(super) const SECRET: &str = "of-the-proxy.";

/// Where a proxy listens, and how long it waits for its clients there. Attackers leave requests unfinished, which is to
/// cost little time; whoever means well shall never be late, on however slow a machine.
#[derive(Debug, Clone, Copy)]
pub(super) enum Door {
    Attackers,
    Others,
}

impl Door {
    const ALL: [Door; 2] = [Door::Attackers, Door::Others];

    fn socket(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Door::Attackers => "attackers",
            Door::Others => "others",
        })
    }

    fn patience(self) -> &'static str {
        match self {
            Door::Attackers => "500ms",
            Door::Others => "60s",
        }
    }
}

/// A proxy that listens in a directory of its own.
pub(super) struct Front {
    child: Child,
    directory: TempDir,
}

impl Front {
    /// haproxy with connections to `server` that its clients share. `extra` goes into the frontends.
    pub(super) async fn haproxy(server: SocketAddr, extra: &str) -> Self {
        let frontend = |door: Door, directory: &Path| {
            let (socket, patience) = (door.socket(directory), door.patience());
            format!(
                "frontend {door:?}\n bind unix@{}\n timeout client {patience}\n timeout http-request {patience}\n \
                 timeout http-keep-alive {patience}\n default_backend blog\n {extra}\n \
                 http-request set-header X-Request-Id {SECRET}%[uuid].%[req.hdr(x-marker)]\n",
                socket.display()
            )
        };
        Self::start(&["haproxy", "-db", "-q", "-f"], |directory| {
            format!(
                "defaults\n mode http\n timeout connect 60s\n timeout server 60s\n{}\
                 backend blog\n http-reuse always\n server blog {server}\n",
                Door::ALL.map(|door| frontend(door, directory)).concat()
            )
        })
        .await
    }

    /// nginx with connections to `server` that its clients share. `extra` goes into the servers.
    pub(super) async fn nginx(server: SocketAddr, extra: &str) -> Self {
        let block = |door: Door, directory: &Path| {
            let (socket, patience) = (door.socket(directory), door.patience());
            format!(
                "server {{\nlisten unix:{};\nclient_header_timeout {patience};\nclient_body_timeout {patience};\n\
                 keepalive_timeout {patience};\nclient_max_body_size 0;\n{extra}\nlocation / {{\n\
                 proxy_pass http://blog;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
                 proxy_set_header Host $http_host;\n\
                 proxy_set_header X-Request-Id {SECRET}$request_id.$http_x_marker;\n}}\n}}\n",
                socket.display()
            )
        };
        Self::start(&["nginx", "-e", "stderr", "-c"], |directory| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary = temporary.map(|name| format!("{name}_temp_path {}/{name};\n", directory.display()));
            format!(
                "daemon off;\nmaster_process off;\npid {}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{}\
                 upstream blog {{ server {server}; keepalive 4; }}\n{}}}\n",
                directory.display(),
                temporary.concat(),
                Door::ALL.map(|door| block(door, directory)).concat()
            )
        })
        .await
    }

    async fn start(command: &[&str], configuration: impl Fn(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("configuration");
        std::fs::write(&path, configuration(directory.path())).unwrap();
        let mut child = Command::new(command[0]);
        // What it says of bad requests is not asked for.
        child.args(&command[1..]).arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn().unwrap_or_else(|error| panic!("{} cannot be started: {error}", command[0]));
        let mut front = Self { child, directory };
        for door in Door::ALL {
            while front.connect(door).await.is_err() {
                assert!(front.child.try_wait().unwrap().is_none(), "{} ended: see its configuration", command[0]);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        front
    }

    pub(super) async fn connect(&self, door: Door) -> std::io::Result<UnixStream> {
        UnixStream::connect(door.socket(self.directory.path())).await
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
