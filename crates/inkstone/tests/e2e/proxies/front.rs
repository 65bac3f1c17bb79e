//! haproxy and nginx, started in front of an address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use inkstone_testkit::services::{HaProxy, Nginx, Process};
use tokio::net::UnixStream;

/// What the proxies' names for requests begin with. Nobody else knows it.
pub(super) const SECRET: &str = "of-the-proxy.";

/// The sockets of [`Door::ALL`].
const SOCKETS: &[&str] = &["attackers", "others"];

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
            Door::Attackers => SOCKETS[0],
            Door::Others => SOCKETS[1],
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
pub(super) enum Front {
    HaProxy(HaProxy),
    Nginx(Nginx),
}

impl Front {
    /// haproxy with connections to `server` that its clients share. `extra` goes into the frontends.
    pub(super) fn haproxy(server: SocketAddr, extra: &str) -> Self {
        let extra = extra.to_owned();
        let frontend = move |door: Door, directory: &Path| {
            let (socket, patience) = (door.socket(directory), door.patience());
            format!(
                "frontend {door:?}\n bind unix@{}\n timeout client {patience}\n timeout http-request {patience}\n \
                 timeout http-keep-alive {patience}\n default_backend blog\n {extra}\n \
                 http-request set-header X-Request-Id {SECRET}%[uuid].%[req.hdr(x-marker)]\n",
                socket.display()
            )
        };
        Self::HaProxy(HaProxy::on_sockets(SOCKETS, move |directory| {
            format!(
                "defaults\n mode http\n timeout connect 60s\n timeout server 60s\n{}\
                 backend blog\n http-reuse always\n server blog {server}\n",
                Door::ALL.map(|door| frontend(door, directory)).concat()
            )
        }))
    }

    /// nginx with connections to `server` that its clients share. `extra` goes into the servers.
    pub(super) fn nginx(server: SocketAddr, extra: &str) -> Self {
        let extra = extra.to_owned();
        let block = move |door: Door, directory: &Path| {
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
        Self::Nginx(Nginx::on_sockets(SOCKETS, move |directory| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary = temporary.map(|name| format!("{name}_temp_path {}/{name};\n", directory.display()));
            format!(
                "daemon off;\nmaster_process off;\npid {}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{}\
                 upstream blog {{ server {server}; keepalive 4; }}\n{}}}\n",
                directory.display(),
                temporary.concat(),
                Door::ALL.map(|door| block(door, directory)).concat()
            )
        }))
    }

    fn process(&self) -> &Process {
        match self {
            Self::HaProxy(proxy) => proxy.process(),
            Self::Nginx(proxy) => proxy.process(),
        }
    }

    pub(super) async fn connect(&self, door: Door) -> std::io::Result<UnixStream> {
        UnixStream::connect(door.socket(self.process().home())).await
    }
}
