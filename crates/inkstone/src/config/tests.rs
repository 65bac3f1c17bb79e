use std::time::Duration;

use super::*;

fn from_file(text: &str) -> Result<Loaded, Vec<Fault>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.toml");
    std::fs::write(&path, text).unwrap();
    load(&Sources { file: Some(path), ..Sources::default() })
}

fn faults(text: &str) -> Vec<String> {
    match from_file(text) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

fn with_environment(variables: &[(&str, &str)]) -> Result<Loaded, Vec<Fault>> {
    let environment = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    load(&Sources { environment, ..Sources::default() })
}

fn origin(loaded: &Loaded, setting: &str) -> String {
    loaded.show().into_iter().find(|line| line.setting == setting).unwrap().origin.to_string()
}

/// One fault that names all of `parts`.
fn assert_one_fault(faults: &[String], parts: &[&str]) {
    assert_eq!(faults.len(), 1, "{faults:?}");
    for part in parts {
        assert!(faults[0].contains(part), "{part:?} is not in {:?}", faults[0]);
    }
}

#[test]
fn the_defaults_are_valid_and_every_one_of_them_is_read() {
    let mut reader = Reader::new(Layers::from_defaults(DEFAULTS));
    sections::read(&mut reader);
    assert_eq!(reader.unread(), Vec::<String>::new(), "settings that nothing reads");
    assert_eq!(reader.into_layers().faults, Vec::new());
}

#[test]
fn every_default_has_a_comment_of_its_own() {
    let lines: Vec<&str> = DEFAULTS.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(lines[at - 1].starts_with("# "), "{line:?} has no comment above it");
        }
    }
}

#[test]
fn the_defaults_are_those_that_the_crates_document() {
    let loaded = load(&Sources::default()).unwrap();
    let ours = format!("{:?}", loaded.config.http);
    assert_eq!(ours, format!("{:?}", inkstone_http::settings::Settings::default()));
    assert_eq!(loaded.config.identity, inkstone_identity::IdentitySettings::default());
    assert_eq!(format!("{:?}", loaded.config.server.limits), format!("{:?}", inkstone_http::server::Limits::default()));
}

#[test]
fn later_layers_win_and_each_value_knows_where_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.toml");
    let text = "[server]\nlisten = \"127.0.0.1:1\"\npublic_url = \"https://blog.example\"\n\n[log]\nfilter = \"debug\"\n[cache]\nmax_bytes = \"1 MiB\"";
    std::fs::write(&path, text).unwrap();
    let loaded = load(&Sources {
        file: Some(path.clone()),
        environment: vec![
            ("INKSTONE__SERVER__LISTEN".into(), "127.0.0.1:2".into()),
            ("INKSTONE__LOG__FILTER".into(), "warn".into()),
            ("PATH".into(), "/bin".into()),
        ],
        flags: vec![("server.listen".to_owned(), "--listen", "127.0.0.1:3".to_owned())],
    })
    .unwrap();
    assert_eq!(loaded.config.server.listen.port(), 3);
    assert_eq!(loaded.config.log.filter, "warn");
    assert_eq!(loaded.config.cache.max_bytes, 1 << 20);
    assert_eq!(loaded.config.identity.issuer, "https://blog.example");
    assert_eq!(origin(&loaded, "server.listen"), "--listen");
    assert_eq!(origin(&loaded, "log.filter"), "INKSTONE__LOG__FILTER");
    assert_eq!(origin(&loaded, "cache.max_bytes"), format!("{}:8", path.display()));
    assert_eq!(origin(&loaded, "store.readers"), "default");
}

#[test]
fn a_shared_cache_is_checked_and_its_password_repeated_nowhere() {
    let file = |more: &str| format!("[cache.shared]\nurl = \"redis://ink:hush@cache.example\"\n{more}");
    let shared = from_file(&file("")).unwrap().config.cache.shared.unwrap();
    assert_eq!(shared.address.to_string(), "redis://…@cache.example:6379");
    assert_eq!(shared.timeout, Duration::from_millis(50));
    assert!(load(&Sources::default()).unwrap().config.cache.shared.is_none());
    for (text, expected) in [
        (file("[cache]\nmax_bytes = \"0\""), ["cache.shared.url", "cache.max_bytes is 0"]),
        (file("").replace("redis:", "ftp:"), ["cache.shared.url", "no kind of cache"]),
        (file("").replace("cache.example", ""), ["cache.shared.url", "must be an address"]),
    ] {
        let faults = faults(&text);
        assert_one_fault(&faults, &expected);
        assert!(!faults[0].contains("hush"), "{faults:?}");
    }
}

#[test]
fn what_belongs_to_a_shared_cache_is_checked_with_it_and_secrets_are_hidden() {
    let file = |url: &str, more: &str| format!("[cache.shared]\nurl = \"{url}\"\n{more}");
    let loaded = from_file(&file("redis://ink@cache.example", "secret = \"hush\"")).unwrap();
    assert_eq!(loaded.config.cache.shared.as_ref().unwrap().address.to_string(), "redis://…@cache.example:6379");
    assert!(loaded.show().iter().all(|line| !line.value.contains("hush")));
    let sentinel = "[cache.shared.sentinel]\nuser = \"watch\"\n";
    for (text, expected) in [
        (file("redis://ink@cache.example", ""), ["cache.shared.url", "without a password"]),
        (file("redis://ink:hush@cache.example", "secret = \"hush\""), ["cache.shared.secret", "a password too"]),
        (file("redis://cache.example", sentinel), ["cache.shared.sentinel.secret", "redis+sentinel://"]),
        (file("redis+sentinel://a/m", sentinel), ["cache.shared.sentinel.secret", "without a password"]),
        (file("redis+cluster://a/1", ""), ["cache.shared.url", "no databases"]),
        (file("rediss://a/#insecure", ""), ["cache.shared.url", "no options"]),
        (
            file("redis://a", "[cache.shared.tls]\nauthorities = \"/dev/null\""),
            ["cache.shared.tls.authorities", "begins with rediss"],
        ),
        (
            file("rediss://a", "[cache.shared.tls]\nauthorities = \"/dev/null\""),
            ["cache.shared.tls.authorities", "no certificate"],
        ),
        (
            file("rediss://a", "[cache.shared.tls]\nauthorities = \"/no/such/file\""),
            ["cache.shared.tls.authorities", "cannot be read"],
        ),
        (
            file("rediss://a", "[cache.shared.tls]\ncertificate = \"/dev/null\""),
            ["cache.shared.tls.key", "must be set as well"],
        ),
    ] {
        let faults = faults(&text);
        assert_one_fault(&faults, &expected);
        assert!(!faults[0].contains("hush"), "{faults:?}");
    }
}

#[test]
fn a_node_looks_for_changes_twice_at_least_before_it_stops_to_trust_itself() {
    assert_eq!(load(&Sources::default()).unwrap().config.cache.max_lag, Duration::from_secs(2));
    for shared in
        ["[cache.shared]\nurl = \"redis://cache.example\"", "[store]\nurl = \"postgres://ink@localhost/blog\""]
    {
        let faults = faults(&format!("[cache]\nmax_lag = \"999ms\"\n{shared}"));
        assert_one_fault(&faults, &["cache.max_lag", "twice worker.poll"]);
    }
    assert_eq!(faults("[cache]\nmax_lag = \"999ms\""), [""; 0], "alone, there is nobody to learn of");
}

#[test]
fn replicas_are_addresses_and_their_passwords_are_repeated_nowhere() {
    let file = |url: &str, replicas: &str| format!("[store]\nurl = \"{url}\"\nreplicas = [{replicas}]");
    let two = "\"postgres://ink:hush@localhost:1/blog\", \"postgres://ink:secret@localhost:2/blog\"";
    let loaded = from_file(&file("postgres://ink:hush@localhost/blog", two)).unwrap();
    let named: Vec<String> = loaded.config.store.replicas.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["postgres://ink@localhost:1/blog", "postgres://ink@localhost:2/blog"]);
    assert_eq!(loaded.config.store.max_lag, Duration::from_secs(5));
    let shown = loaded.show().into_iter().find(|line| line.setting == "store.replicas").unwrap().value;
    assert_eq!(shown, "[\"postgres://…@localhost:1/blog\", \"postgres://…@localhost:2/blog\"]");
    for (text, expected) in [
        (file("", two), ["store.replicas", "needs store.url"]),
        (file("postgres://localhost/blog", "\"postgres://ink:hush@localhost\""), ["store.replicas", "number 1"]),
    ] {
        let faults = faults(&text);
        assert_one_fault(&faults, &expected);
        assert!(!faults[0].contains("hush"), "{faults:?}");
    }
}

#[test]
fn a_file_has_at_most_a_mebibyte() {
    let mut text = "[log]\nfilter = \"debug\"\n#".to_owned();
    text.push_str(&"x".repeat(1024 * 1024 - text.len()));
    assert_eq!(from_file(&text).unwrap().config.log.filter, "debug");
    text.push('x');
    assert_one_fault(&faults(&text), &["test.toml", "more than 1 MiB"]);
    // One that has no end, and whose size is said to be 0.
    let endless = load(&Sources { file: Some("/dev/zero".into()), ..Sources::default() }).unwrap_err();
    assert_one_fault(&[endless[0].to_string()], &["/dev/zero", "more than 1 MiB"]);
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name_and_its_line() {
    let faults = faults("# a comment\n[server]\nlisten = \"127.0.0.1:80\"\nlisden = \"127.0.0.1:81\"\n");
    assert_one_fault(&faults, &["server.lisden", "test.toml:4", "Did you mean server.listen?"]);
    assert_one_fault(&self::faults("[sever]\n"), &["sever ", "test.toml:1", "Did you mean server?"]);
    assert_one_fault(&self::faults("listen = \"x\""), &["Did you mean server.listen?"]);
    assert_one_fault(&self::faults("zzzzzzzz = 1"), &["there is no such setting", "config default"]);
}

#[test]
fn an_unknown_variable_is_refused_in_the_language_of_variables() {
    let faults = with_environment(&[("INKSTONE__SERVER__LISTN", "127.0.0.1:80")]).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["INKSTONE__SERVER__LISTN", "Did you mean INKSTONE__SERVER__LISTEN?"]);
    let faults = with_environment(&[("INKSTONE_SERVER__LISTEN", "127.0.0.1:80")]).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["INKSTONE__SERVER__LISTEN", "two underscores"]);
    // What Kubernetes sets for a service of this name is nobody's mistake.
    with_environment(&[("INKSTONE_SERVICE_HOST", "10.0.0.1"), ("INKSTONE_PORT_8080_TCP", "tcp://10.0.0.1")]).unwrap();
}

#[test]
fn wrong_types_and_ranges_are_refused_all_at_once() {
    let faults = faults(
        "[server]\nlisten = 8080\nthreads = \"four\"\noperations_listen = \"localhost\"\n\
         [server.limits]\nconnections = 0\nkeep_alive = \"5\"\nheader_bytes = \"1 KiB\"\n\
         [http]\naccess_log = \"al\"\n\
         trusted_proxies = [\"10.0.0.0/33\"]\nserver_timing = \"yes\"\n\
         [identity.throttle.address]\nfree = 51\n\
         [log]\nfilter = \"verbose\"\n",
    );
    let expected = [
        ("server.listen (", "must be a text in quotes, but is a whole number"),
        ("server.threads (", "must be a whole number, but is a text"),
        ("server.operations_listen (", "an address and a port"),
        ("server.limits.connections (", "must be from 1 to"),
        ("server.limits.keep_alive (", "must be a duration such as"),
        ("server.limits.header_bytes (", "must be from 4 KiB to 1 MiB"),
        ("http.access_log (", "Did you mean \"all\"?"),
        ("http.trusted_proxies (", "10.0.0.0/33"),
        ("http.server_timing (", "must be true or false, but is a text"),
        ("identity.throttle.address.free (", "must be from 1 to 50"),
        ("log.filter (", "is no level"),
    ];
    for (setting, message) in expected {
        assert!(
            faults.iter().any(|fault| fault.starts_with(setting) && fault.contains(message)),
            "{setting} {message} not in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn a_value_in_place_of_a_section_and_the_other_way_round_are_refused() {
    assert_one_fault(&faults("server = 1"), &["server ", "is a section"]);
    assert_one_fault(&faults("[server.listen]\nport = 1"), &["server.listen", "but is a section"]);
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let faults = faults("[server]\n\nlisten = 127.0.0.1\n");
    assert!(faults.iter().any(|fault| fault.contains("test.toml:3") && fault.contains("not TOML")), "{faults:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (text, parts) in [
        ("[server.tls]\ncertificate = \"a.pem\"", ["server.tls.key", "must be set as well"]),
        ("[server]\nlisten = \"127.0.0.1:8081\"", ["server.operations_listen", "must not be the address of"]),
        ("[server]\nlisten = \"\"", ["server.listen", "must not be empty"]),
        ("[server]\npublic_url = \"https://ada:secret@blog.example\"", ["server.public_url", "without name"]),
        ("[http.cors]\norigins = [\"https://a.example/\"]", ["http.cors.origins", "is not an origin"]),
        ("[http.cors]\norigins = [\"*\"]\ncredentials = true", ["http.cors.credentials", "must be false"]),
        ("[http.v1]\nsunset = \"2027-01-01T00:00:00Z\"", ["http.v1.sunset", "needs http.v1.deprecated"]),
        (
            "[http.v1]\ndeprecated = \"2028-01-01T00:00:00Z\"\nsunset = \"2027-01-01T00:00:00Z\"",
            ["http.v1.sunset", "must not be before"],
        ),
        ("[identity]\nsession_idle = \"100d\"", ["identity.session_idle", "must not be longer"]),
        ("[identity]\nkey_publish_lead = \"20d\"\nkey_rotation = \"10d\"", ["identity.key_publish_lead", "shorter"]),
        ("[store.retention]\naudit = \"23h\"", ["store.retention.audit", "at least 1d, or \"0s\" for ever"]),
        ("[store.retention]\noutbox = \"59m\"", ["store.retention.outbox", "at least 1h"]),
        ("[identity.throttle.login]\nbase = \"2h\"", ["identity.throttle.login.base", "must not be longer"]),
    ] {
        assert_one_fault(&faults(text), &parts);
    }
}

#[test]
fn no_retention_is_for_ever() {
    let loaded = from_file("[store.retention]\naudit = \"0s\"\noutbox = \"1h\"").unwrap();
    let kept = loaded.config.store.retention;
    assert_eq!((kept.audit, kept.outbox), (None, Some(std::time::Duration::from_hours(1))));
    assert!(kept.failed_sign_ins.is_some());
}

#[test]
fn a_value_can_come_from_a_file_that_a_variable_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    std::fs::write(&path, "The Inkwell\n").unwrap();
    let path = path.to_str().unwrap();
    let loaded = with_environment(&[("INKSTONE__IDENTITY__SITE_NAME_FILE", path)]).unwrap();
    assert_eq!(loaded.config.identity.site_name, "The Inkwell");
    assert_eq!(origin(&loaded, "identity.site_name"), format!("{path} (named by INKSTONE__IDENTITY__SITE_NAME_FILE)"));
    let faults =
        with_environment(&[("INKSTONE__IDENTITY__SITE_NAME_FILE", path), ("INKSTONE__IDENTITY__SITE_NAME", "Another")])
            .unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["INKSTONE__IDENTITY__SITE_NAME is set too"]);
    let faults = with_environment(&[("INKSTONE__IDENTITY__SITE_NAME_FILE", "/nowhere/at/all")]).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["/nowhere/at/all", "cannot be read"]);
}

#[test]
fn a_file_that_a_variable_names_and_that_is_empty_is_no_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("value");
    for nothing in ["", "\n", " \r\n\n"] {
        std::fs::write(&path, nothing).unwrap();
        for setting in ["STORE__URL", "STORE__REPLICAS", "CACHE__SHARED__URL", "CACHE__SHARED__SECRET"] {
            let variable = format!("INKSTONE__{setting}_FILE");
            let faults = with_environment(&[(&variable, path.to_str().unwrap())]).unwrap_err();
            assert_one_fault(&[faults[0].to_string()], &[&variable, "the file is empty"]);
        }
    }
}

#[test]
fn an_address_of_the_database_that_somebody_gave_and_that_is_empty_is_refused() {
    let faults = with_environment(&[("INKSTONE__STORE__URL", "")]).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["store.url (INKSTONE__STORE__URL)", "is empty", "sqlite:"]);
    for flag in ["--database", "--set"] {
        let flags = vec![("store.url".to_owned(), flag, String::new())];
        let faults = load(&Sources { flags, ..Sources::default() }).unwrap_err();
        assert_one_fault(&[faults[0].to_string()], &[flag, "is empty", "sqlite:"]);
    }
    // That it is the file is said by saying so; in a configuration file, which is written by hand, also by nothing.
    assert_eq!(with_environment(&[("INKSTONE__STORE__URL", "sqlite:")]).unwrap().config.store.url, None);
    assert_eq!(from_file("[store]\nurl = \"\"").unwrap().config.store.url, None);
    assert_one_fault(&faults_of_url("sqlite:/var/lib/blog"), &["store.url", "store.data_dir"]);
    // One node of several keeps nothing to itself, and so may take its time.
    let lag = "cache.max_lag".to_owned();
    let flags = vec![("store.url".to_owned(), "--database", "sqlite:".to_owned()), (lag, "--set", "20ms".to_owned())];
    load(&Sources { flags, ..Sources::default() }).unwrap();
}

#[test]
fn a_place_that_a_variable_or_a_flag_leaves_empty_is_refused() {
    for variable in [DATA_DIR_VARIABLE, "INKSTONE__STORE__DATA_DIR"] {
        let faults = with_environment(&[(variable, "")]).unwrap_err();
        assert_one_fault(&[faults[0].to_string()], &[&format!("store.data_dir ({variable}): must not be empty")]);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
    let flags = vec![("store.data_dir".to_owned(), "--data-dir", String::new())];
    let faults = load(&Sources { flags, ..Sources::default() }).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["store.data_dir (--data-dir): must not be empty"]);
    let faults = with_environment(&[(FILE_VARIABLE, "")]).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["(INKSTONE_CONFIG): must not be empty"]);
    // Who says it again means that.
    let flags = vec![("store.data_dir".to_owned(), "--data-dir", "data".to_owned())];
    let environment = vec![(DATA_DIR_VARIABLE.into(), OsString::new())];
    let loaded = load(&Sources { environment, flags, ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.store.data_dir, Path::new("data"));
}

fn faults_of_url(url: &str) -> Vec<String> {
    faults(&format!("[store]\nurl = \"{url}\""))
}

#[test]
fn variables_set_numbers_flags_and_lists() {
    let loaded = with_environment(&[
        ("INKSTONE__STORE__READERS", "3"),
        ("INKSTONE__HTTP__SERVER_TIMING", "true"),
        ("INKSTONE__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("INKSTONE__CACHE__LIFETIMES__POSTS__FRESH", "1m"),
    ])
    .unwrap();
    assert_eq!(loaded.config.store.readers, 3);
    assert!(loaded.config.http.server_timing);
    assert_eq!(loaded.config.http.trusted_proxies.len(), 2);
    assert_eq!(loaded.config.server.limits.uncapped_networks.len(), 2, "they carry many clients each");
    assert_eq!(loaded.config.http.lifetimes.posts.fresh.as_secs(), 60);
    let faults = with_environment(&[("INKSTONE__STORE__READERS", "three")]).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["store.readers (INKSTONE__STORE__READERS)", "a whole number"]);
}

#[test]
fn the_file_of_the_data_directory_is_read_if_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap().to_owned();
    let sources =
        Sources { flags: vec![("store.data_dir".to_owned(), "--data-dir", data_dir.clone())], ..Sources::default() };
    assert_eq!(load(&sources).unwrap().file, None);
    std::fs::write(dir.path().join(FILE_NAME), "[log]\nformat = \"json\"").unwrap();
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.file, Some(dir.path().join(FILE_NAME)));
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    // The same by variable.
    let loaded = with_environment(&[(DATA_DIR_VARIABLE, &data_dir)]).unwrap();
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(origin(&loaded, "store.data_dir"), DATA_DIR_VARIABLE);
    let loaded = with_environment(&[("INKSTONE__STORE__DATA_DIR", &data_dir)]).unwrap();
    assert_eq!(loaded.config.log.format, LogFormat::Json);

    std::fs::write(dir.path().join(FILE_NAME), "[store]\ndata_dir = \"/elsewhere\"").unwrap();
    let faults = load(&sources).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["store.data_dir", "cannot say where that is"]);
}

#[test]
fn a_file_that_is_named_has_to_be_there() {
    let faults = load(&Sources { file: Some("/nowhere/site.toml".into()), ..Sources::default() }).unwrap_err();
    assert_one_fault(&[faults[0].to_string()], &["--config", "/nowhere/site.toml cannot be read"]);
}

#[test]
fn what_is_shown_is_toml_that_gives_the_same_settings() {
    let loaded =
        from_file("[identity]\nsite_name = \"a \\\"quoted\\\" name\\n\"\n[http]\ntrusted_proxies=[\"::1\"]").unwrap();
    let lines = loaded.show();
    let text = lines.iter().map(|line| format!("{} = {}", line.setting, line.value)).collect::<Vec<_>>().join("\n");
    let again = from_file(&text).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{:?}", loaded.config));
}

#[test]
fn secrets_are_hidden_wherever_they_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "hunter2\n").unwrap();
    let mut layers = Layers::from_defaults("[mail]\nsmtp_secret = \"\"\nurl = \"\"");
    layers.add_environment([
        ("INKSTONE__MAIL__SMTP_SECRET_FILE".into(), path.into()),
        ("INKSTONE__MAIL__URL".into(), "smtp://ada:b/c?d#hunter2@mail.example/".into()),
    ]);
    assert_eq!(layers.faults, []);
    let shown = show(&layers);
    assert_eq!(shown[0].value, HIDDEN);
    assert!(shown[0].origin.to_string().contains("INKSTONE__MAIL__SMTP_SECRET_FILE"));
    assert_eq!(shown[1].value, "\"smtp://…@mail.example/\"");
    assert!(!format!("{shown:?}").contains("hunter2"));
}
