//! Several hosts in one address: whoever takes writes is found, also where another one says nothing at all.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error};

/// Connects to the first host that is as it was asked for (`target_session_attrs`), beginning with the one that was so last.
///
/// tokio-postgres tries one host after the other as well, but bounds only how long each may take to accept a connection: a
/// host that was stopped accepts, says nothing, and takes the time of all that come after it.
pub(super) struct Hosts {
    connect: Box<dyn Connect>,
    configs: Vec<Config>,
    /// How long each may take until it can be asked something.
    share: Duration,
    /// Whose turn is first.
    first: AtomicUsize,
}

impl Hosts {
    /// The hosts of `config`, which together may take as long as `patience`.
    pub(super) fn new(connect: Box<dyn Connect>, config: &Config, patience: Duration) -> Self {
        let configs = each(config);
        let share = patience / u32::try_from(configs.len().max(1)).unwrap_or(u32::MAX);
        Self { connect, configs, share, first: AtomicUsize::default() }
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts").field("configs", &self.configs).field("share", &self.share).finish_non_exhaustive()
    }
}

impl Connect for Hosts {
    fn connect(&self, _config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        Box::pin(async move {
            let mut refused = None;
            let (first, count) = (self.first.load(Ordering::Relaxed), self.configs.len());
            for place in (first..first + count).map(|place| place % count) {
                let mut turn = Turn { first: &self.first, next: (place + 1) % count };
                match tokio::time::timeout(self.share, self.connect.connect(&self.configs[place])).await {
                    Ok(Ok(made)) => {
                        turn.next = place;
                        return Ok(made);
                    }
                    Ok(Err(error)) => refused = Some(error),
                    Err(_) => {}
                }
            }
            match refused {
                Some(error) => Err(error),
                // Nobody said anything, and there are no words of tokio-postgres' own for that: whoever waits gives up.
                None => std::future::pending().await,
            }
        })
    }
}

/// Says who is to be tried first from now on, also when whoever waits gives up in the middle of it.
struct Turn<'a> {
    first: &'a AtomicUsize,
    next: usize,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.first.store(self.next, Ordering::Relaxed);
    }
}

/// The same with one host each.
pub(super) fn each(config: &Config) -> Vec<Config> {
    let (ports, addresses) = (config.get_ports(), config.get_hostaddrs());
    let one = |(place, host): (usize, &Host)| {
        let mut one = Config::new();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(path) => one.host_path(path),
        };
        if let Some(port) = ports.get(place).or(ports.first()) {
            one.port(*port);
        }
        if let Some(address) = addresses.get(place) {
            one.hostaddr(*address);
        }
        if let Some(user) = config.get_user() {
            one.user(user);
        }
        if let Some(password) = config.get_password() {
            one.password(password);
        }
        if let Some(name) = config.get_dbname() {
            one.dbname(name);
        }
        if let Some(options) = config.get_options() {
            one.options(options);
        }
        if let Some(name) = config.get_application_name() {
            one.application_name(name);
        }
        if let Some(timeout) = config.get_connect_timeout() {
            one.connect_timeout(*timeout);
        }
        if let Some(timeout) = config.get_tcp_user_timeout() {
            one.tcp_user_timeout(*timeout);
        }
        if let Some(interval) = config.get_keepalives_interval() {
            one.keepalives_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            one.keepalives_retries(retries);
        }
        one.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
        one.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
        one.channel_binding(config.get_channel_binding()).target_session_attrs(config.get_target_session_attrs());
        one
    };
    config.get_hosts().iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_is_connected_to_as_all_of_them() {
        let settings = "options=-c%20jit%3Doff&application_name=blog&connect_timeout=3&tcp_user_timeout=4&keepalives=0\
                        &keepalives_idle=5&keepalives_interval=6&keepalives_retries=7&sslmode=require&channel_binding=disable\
                        &target_session_attrs=read-write";
        let parse = |hosts: &str| format!("postgres://ada:sesame@{hosts}/blog?{settings}").parse::<Config>().unwrap();
        let several = parse("one.example:1,two.example:2,[::1]:3");
        assert_eq!(each(&several), ["one.example:1", "two.example:2", "[::1]:3"].map(parse));
        let mut named = several.clone();
        for last in 1..=3 {
            named.hostaddr(std::net::IpAddr::from([10, 0, 0, last]));
        }
        let addresses: Vec<_> = each(&named).iter().map(|one| one.get_hostaddrs().to_vec()).collect();
        assert_eq!(addresses, [1, 2, 3].map(|last| vec![std::net::IpAddr::from([10, 0, 0, last])]));
        let one_port = "host=a,b port=9 user=x".parse::<Config>().unwrap();
        assert_eq!(each(&one_port).iter().map(|one| one.get_ports().to_vec()).collect::<Vec<_>>(), [[9], [9]]);
    }
}
