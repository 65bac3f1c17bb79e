//! What stands on the terminal after the start.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::config::{Config, Sources};

/// Where commands look for a blog when nobody says where: the default of `store.data_dir`.
const USUAL_DATA_DIR: &str = "./inkstone-data";

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Urls {
    /// Where this machine reaches the API.
    pub(super) server: String,
    /// Where the public does, if that is known.
    pub(super) public: Option<String>,
    /// Where probes and metrics are, if anywhere.
    pub(super) operations: Option<String>,
}

impl Urls {
    pub(super) fn of(config: &Config, main: SocketAddr, operations: Option<SocketAddr>) -> Self {
        let scheme = if config.server.tls.is_some() { "https" } else { "http" };
        Self {
            server: format!("{scheme}://{}", reachable(main)),
            public: config.http.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()),
            operations: operations.map(|address| format!("http://{}", reachable(address))),
        }
    }
}

/// The options that a command needs to find this very blog: what tells its place from the usual one.
pub(super) fn place(config: &Config, sources: &Sources) -> String {
    let data_dir = Some(config.store.data_dir.as_path()).filter(|dir| *dir != Path::new(USUAL_DATA_DIR));
    let options = [("--data-dir", data_dir), ("--config", sources.file.as_deref())];
    let given = options.into_iter().filter_map(|(option, path)| Some((option, path?.to_string_lossy())));
    given.flat_map(|(option, path)| [Cow::from(" "), option.into(), " ".into(), quoted(path)]).collect()
}

/// A word as shells take it.
fn quoted(word: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@+,=%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word;
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

/// An address that a browser on this machine can open: nobody can open 0.0.0.0.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How the first administrator comes in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setup<'a> {
    /// With this one-time secret.
    Secret(&'a str),
    /// By a command on this machine: whoever reads this later should not find a secret in it.
    ByCommand,
}

/// The text; `setup` while nobody can sign in, with the [`place`] that its command is for.
pub(super) fn render(urls: &Urls, setup: Option<Setup<'_>>, place: &str) -> String {
    let Urls { server, public, operations } = urls;
    let base = public.as_ref().unwrap_or(server);
    let version = crate::VERSION;
    let mut lines = vec![
        format!("Inkstone {version}"),
        String::new(),
        format!("  API         {base}/api/v1/posts"),
        format!("              {base}/api/v2/posts"),
        format!("  Reference   {base}/docs"),
    ];
    if let Some(operations) = operations {
        lines.push(format!("  Operations  {operations}/livez"));
        lines.push(format!("              {operations}/readyz"));
        lines.push(format!("              {operations}/metrics"));
    }
    let Some(setup) = setup else { return lines.join("\n") + "\n" };
    lines.push("\nNobody can sign in yet. Make the first administrator, once, within a day:\n".to_owned());
    if let Setup::Secret(secret) = setup {
        let body = format!(r#"{{"secret":"{secret}","handle":"NAME","password":"A LONG PHRASE"}}"#);
        let json = "-H 'content-type: application/json'";
        lines.push(format!("  in a browser     {base}/setup#{secret}"));
        lines.push(format!("  with curl        curl -X POST {base}/api/v2/setup {json} -d '{body}'"));
    }
    lines.push(format!("  on this machine  inkstone user add NAME --role administrator{place}"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(public: Option<&str>) -> Urls {
        Urls { server: "http://127.0.0.1:8080".into(), public: public.map(str::to_owned), operations: None }
    }

    #[test]
    fn the_setup_is_shown_only_while_it_is_needed_and_at_the_public_address() {
        let text = render(&urls(None), Some(Setup::Secret("ink_setup_x")), "");
        assert!(text.contains("http://127.0.0.1:8080/setup#ink_setup_x"), "{text}");
        assert!(text.contains("\"secret\":\"ink_setup_x\""), "{text}");
        let text = render(&urls(Some("https://blog.example")), Some(Setup::Secret("ink_setup_x")), "");
        assert!(text.contains("https://blog.example/setup#ink_setup_x"), "{text}");
        assert!(!render(&urls(None), None, "").contains("setup"));
    }

    #[test]
    fn the_command_is_for_this_blog_and_no_other() {
        let command = |file: Option<&str>, flags: &[(&str, &'static str, &str)]| {
            let flags = flags.iter().map(|(setting, flag, value)| ((*setting).to_owned(), *flag, (*value).to_owned()));
            let sources = Sources { flags: flags.collect(), ..Sources::default() };
            let config = crate::config::load(&sources).unwrap().config;
            let text = render(
                &urls(None),
                Some(Setup::ByCommand),
                &place(&config, &Sources { file: file.map(Into::into), ..sources }),
            );
            text.lines().last().unwrap().split("administrator").nth(1).unwrap().to_owned()
        };
        assert_eq!(command(None, &[]), "");
        assert_eq!(command(None, &[("store.data_dir", "--data-dir", "./inkstone-data")]), "");
        let there = [("store.data_dir", "--data-dir", "/var/lib/ada's blog")];
        assert_eq!(command(None, &there), r" --data-dir '/var/lib/ada'\''s blog'");
        assert_eq!(command(Some("site.toml"), &there[..0]), " --config site.toml");
        let set = [("store.data_dir", "--set", "/srv/blog")];
        assert_eq!(command(Some("/etc/ink.toml"), &set), " --data-dir /srv/blog --config /etc/ink.toml");
    }

    #[test]
    fn addresses_for_all_are_shown_as_one_that_can_be_opened() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()).to_string(), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
        assert_eq!(reachable("192.0.2.1:80".parse().unwrap()).to_string(), "192.0.2.1:80");
    }
}
