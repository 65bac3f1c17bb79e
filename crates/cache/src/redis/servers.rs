//! How Redis is reached: one server, the master that sentinels name, or a cluster; in the open or
//! over TLS, where a certificate that does not hold ends the attempt and nothing is tried without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, TlsMode,
};
use tokio::sync::Mutex;

use crate::access::{Credentials, Identity};

/// How long making a connection may take, name look-up, TLS and sentinels included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// With these numbers, `inkstone:ping:…` lies in the first sixteenth of a cluster's slots, in the second, and so on.
const IN_EACH_PART: [u16; 16] = [10, 0, 61, 43, 11, 1, 60, 42, 12, 2, 63, 41, 13, 3, 62, 40];

/// Over TLS: whom to trust, and who we are. Both are PEM.
#[derive(Clone)]
pub(crate) struct Tls {
    /// None: the authorities of the system.
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) identity: Option<Identity>,
}

impl Tls {
    fn certificates(&self) -> TlsCertificates {
        let identity = self.identity.clone();
        let client_tls =
            identity.map(|Identity { certificate, key }| ClientTlsConfig { client_cert: certificate, client_key: key });
        TlsCertificates { client_tls, root_cert: self.authorities.clone() }
    }
}

/// Where servers are, and who asks them.
#[derive(Clone)]
pub(crate) struct Hosts {
    /// Names or addresses (without brackets), and ports.
    pub(crate) servers: Vec<(String, u16)>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) database: i64,
    pub(crate) tls: Option<Tls>,
}

impl Hosts {
    fn addresses(&self) -> Vec<ConnectionAddr> {
        let address = |(host, port): &(String, u16)| match &self.tls {
            None => ConnectionAddr::Tcp(host.clone(), *port),
            Some(_) => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        };
        self.servers.iter().map(address).collect()
    }

    fn clients(&self) -> Result<Vec<Client>, RedisError> {
        // It would tell the name of a library, for which users with few rights lack one.
        let mut settings = RedisConnectionInfo::default().set_db(self.database).set_skip_set_lib_name();
        if let Some(Credentials { user, password }) = &self.credentials {
            settings = settings.set_password(password);
            if !user.is_empty() {
                settings = settings.set_username(user);
            }
        }
        let client = |address: ConnectionAddr| {
            let info = address.into_connection_info()?.set_redis_settings(settings.clone());
            match &self.tls {
                None => Client::open(info),
                Some(tls) => Client::build_with_tls(info, tls.certificates()),
            }
        };
        self.addresses().into_iter().map(client).collect()
    }
}

/// Which servers.
#[derive(Clone)]
pub(crate) enum Servers {
    One(Box<Client>),
    Sentinel(Arc<Mutex<SentinelClient>>),
    Cluster { client: Box<ClusterClient>, nodes: Arc<Nodes> },
}

/// The nodes of a cluster that its address names, and which of them is asked next for announcements.
pub(crate) struct Nodes {
    clients: Vec<Client>,
    next: AtomicUsize,
}

impl Servers {
    /// The first of these hosts.
    pub(crate) fn one(hosts: &Hosts) -> Result<Self, RedisError> {
        match hosts.clients()?.into_iter().next() {
            Some(client) => Ok(Self::One(Box::new(client))),
            None => Err((ErrorKind::InvalidClientConfig, "no host").into()),
        }
    }

    pub(crate) fn cluster(hosts: &Hosts) -> Result<Self, RedisError> {
        let clients = hosts.clients()?;
        let nodes: Vec<ConnectionInfo> = clients.iter().map(|client| client.get_connection_info().clone()).collect();
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(CONNECT_TIMEOUT)
            // The guard's deadline is shorter than any wait for a second attempt.
            .retries(1);
        if let Some(tls) = &hosts.tls {
            // For those that the cluster names itself.
            builder = builder.tls(TlsMode::Secure).certs(tls.certificates());
        }
        let nodes = Arc::new(Nodes { clients, next: AtomicUsize::new(0) });
        Ok(Self::Cluster { client: Box::new(builder.build()?), nodes })
    }

    /// `hosts` are the sentinels; its credentials and its database are those of the servers they watch.
    pub(crate) fn sentinel(hosts: &Hosts, master: &str, sentinel: Option<&Credentials>) -> Result<Self, RedisError> {
        let mut builder = SentinelClientBuilder::new(hosts.addresses(), master, SentinelServerType::Master)?
            .set_client_to_redis_db(hosts.database);
        if let Some(tls) = &hosts.tls {
            builder = builder
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(tls.certificates())
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(tls.certificates());
        }
        if let Some(Credentials { user, password }) = &hosts.credentials {
            builder = builder.set_client_to_redis_password(password);
            if !user.is_empty() {
                builder = builder.set_client_to_redis_username(user);
            }
        }
        if let Some(Credentials { user, password }) = sentinel {
            builder = builder.set_client_to_sentinel_password(password);
            if !user.is_empty() {
                builder = builder.set_client_to_sentinel_username(user);
            }
        }
        Ok(Self::Sentinel(Arc::new(Mutex::new(builder.build()?))))
    }

    pub(super) async fn connect(&self, patience: Duration) -> Result<Connection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(patience));
        Ok(match self {
            Self::One(client) => Connection::One(alive(client, &config).await?),
            Self::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                Connection::One(alive(&master, &config).await?)
            }
            Self::Cluster { client, .. } => {
                let config =
                    ClusterConfig::new().set_connection_timeout(CONNECT_TIMEOUT).set_response_timeout(patience);
                Connection::Cluster(client.get_async_connection_with_config(config).await?)
            }
        })
    }

    /// A client of a server on which announcements are heard: in a cluster that is any of them, and
    /// another one each time, since one that hangs takes all the time there is.
    pub(super) async fn listener(&self) -> Result<Client, RedisError> {
        match self {
            Self::One(client) => Ok((**client).clone()),
            Self::Sentinel(client) => client.lock().await.async_get_client().await,
            Self::Cluster { nodes, .. } => {
                let turn = nodes.next.fetch_add(1, Ordering::Relaxed);
                let node = nodes.clients.get(turn % nodes.clients.len().max(1));
                node.cloned().ok_or_else(|| (ErrorKind::ClusterConnectionNotFound, "no node").into())
            }
        }
    }
}

/// A connection that has carried something: a server that wants to see a certificate of ours first
/// takes the connection, and then ends it.
async fn alive(client: &Client, config: &AsyncConnectionConfig) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = client.get_multiplexed_async_connection_with_config(config).await?;
    match redis::cmd("PING").exec_async(&mut connection).await {
        Err(error) if error.is_io_error() => Err(error),
        _ => Ok(connection),
    }
}

/// A connection, to one server or to all of a cluster.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// In a cluster a command goes where its one key belongs: none that the cache uses has two.
    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, RedisError> {
        async fn on<T: FromRedisValue>(to: &mut impl ConnectionLike, command: &Cmd) -> Result<T, RedisError> {
            command.query_async(to).await
        }
        match self {
            Self::One(connection) => on(connection, command).await,
            Self::Cluster(connection) => on(connection, command).await,
        }
    }

    /// Whether another connection may help: this one is broken or does not answer, or it leads to a
    /// server that is no longer the master. A cluster's mends itself, as long as it knows any node;
    /// to make it anew for each node that is lost would cost the others.
    pub(super) fn is_lost(&self, error: &RedisError) -> bool {
        match self {
            Self::One(_) => {
                error.is_io_error()
                    || error.is_unrecoverable_error()
                    || matches!(
                        error.kind(),
                        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
                    )
            }
            Self::Cluster(_) => error.kind() == ErrorKind::ClusterConnectionNotFound,
        }
    }

    /// Whether it answers: in a cluster, whoever holds something of each part of the slots. (A `PING`
    /// passes over those that are known to be lost.)
    pub(super) async fn ping(&mut self) -> Result<(), RedisError> {
        let connection = match self {
            Self::One(_) => return self.ask(&redis::cmd("PING")).await,
            Self::Cluster(connection) => connection,
        };
        let ask = |number: &u16| {
            let (mut connection, name) = (connection.clone(), format!("inkstone:ping:{number}"));
            async move { redis::cmd("GET").arg(name).exec_async(&mut connection).await }
        };
        try_join_all(IN_EACH_PART.iter().map(ask)).await.map(drop)
    }
}
