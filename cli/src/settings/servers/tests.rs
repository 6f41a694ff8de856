//! Settings as a table: what is refused and how, and what the defaults come to.

use std::{path::Path, time::Duration};

use clap::Parser;
use roadstead_dataplane::StorageUrl;

use super::*;
use crate::args::{Cli, Command};

fn check(line: &str) -> Result<(), Failure> {
    let cli = Cli::try_parse_from(["roadstead"].into_iter().chain(line.split(' ')))
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    match cli.command {
        Command::Serve(flags) => flags.check().map(drop),
        Command::Control(flags) => flags.check().map(drop),
        Command::Dataplane(flags) => flags.check().map(drop),
        _ => panic!("no server: {line}"),
    }
}

fn serve(line: &str) -> ServeSettings {
    match Cli::try_parse_from(["roadstead"].into_iter().chain(line.split(' '))).unwrap().command {
        Command::Serve(flags) => flags.check().unwrap(),
        _ => panic!("{line}"),
    }
}

#[test]
fn the_low_watermark_is_nine_tenths_of_the_high_one_unless_said() {
    for (high, low) in [("90%", "81%"), ("95%", "86%"), ("9%", "9%"), ("1000", "900"), ("1%", "1%")] {
        let watermarks = serve(&format!("serve --store-high-watermark {high}")).control.watermarks.unwrap();
        assert_eq!(watermarks.low.to_string(), low);
    }
}

#[test]
fn a_bad_setting_is_refused_by_flag_and_value() {
    for (line, message) in [
        ("serve --tls-cert /c.pem", "--tls-cert /c.pem: needs --tls-key too"),
        ("serve --tls-key /k.pem", "--tls-key /k.pem: needs --tls-cert too"),
        ("serve --tls-cert /no/c.pem --tls-key /no/k.pem", "--tls-cert /no/c.pem: "),
        ("serve --storage s3://bucket?x=y", "--storage s3://bucket?x=y: a bucket's URL is a name and at most a prefix"),
        (
            "serve --storage s3://Bad_Bucket/x",
            "--storage s3://Bad_Bucket/x: \"Bad_Bucket\" is not the name of a bucket",
        ),
        ("serve --storage s3://key:secret@bucket", "--storage (with credentials): a bucket's URL is a name"),
        ("serve --storage s3://bucket --s3-endpoint 127.0.0.1:9", "--s3-endpoint 127.0.0.1:9: "),
        ("serve --storage s3://bucket --s3-endpoint ftp://h", "--s3-endpoint ftp://h: expected https://HOST[:PORT]"),
        ("serve --s3-endpoint http://h", "--s3-endpoint http://h: needs --storage s3://BUCKET[/PREFIX]"),
        ("serve --redirect-blobs", "--redirect-blobs true: needs --storage s3://…"),
        ("serve --storage file://relative", "--storage file://relative: a file URL needs an absolute path"),
        ("serve --storage /blobs", "--storage /blobs: expected file:///ABSOLUTE/PATH"),
        (
            "serve --database-url mysql://u:secret@h/d",
            "--database-url mysql://…: expected sqlite://PATH or postgres://…",
        ),
        ("serve --database-url u:secret@h/d", "--database-url (not a URL): expected sqlite://PATH or postgres://…"),
        ("control --database-url sqlite://", "--database-url sqlite://…: expected sqlite://PATH or postgres://…"),
        ("serve --store-high-watermark 0", "--store-high-watermark 0: would empty the store; leave it out"),
        (
            "serve --store-high-watermark 1GiB --store-low-watermark 0B",
            "--store-low-watermark 0: would empty the store",
        ),
        ("serve --listen 127.0.0.1:7071", "--control-listen 127.0.0.1:7071: already taken by --listen 127.0.0.1:7071"),
        ("serve --listen 0.0.0.0:7072", "--metrics-listen 127.0.0.1:7072: already taken by --listen 0.0.0.0:7072"),
        ("control --metrics-listen [::]:7071", "--metrics-listen [::]:7071: already taken by --control-listen"),
        ("dataplane --node-token x --metrics-listen 127.0.0.1:7070", "--metrics-listen 127.0.0.1:7070: already taken"),
        ("dataplane --node-token=", "--node-token: empty or not a token"),
        ("serve --external-url ftp://h", "--external-url ftp://h: expected https://HOST"),
        ("serve --external-url https://h/path", "--external-url https://h/path: expected https://HOST"),
        ("serve --external-url https://u:p@h", "--external-url (with credentials): expected https://HOST"),
        ("serve --external-url nonsense", "--external-url nonsense: relative URL without a base"),
        ("serve --peer-listen 0.0.0.0:7075", "--peer-listen 0.0.0.0:7075: needs --peer-url too"),
        ("serve --peer-listen 127.0.0.1:7070", "--peer-listen 127.0.0.1:7070: already taken by --listen"),
        (
            "serve --peer-listen 127.0.0.1:1 --peer-url http://u:p@h",
            "--peer-url (with credentials): expected https://HOST",
        ),
        ("serve --peer-listen 127.0.0.1:1 --peer-url http://h/x", "--peer-url http://h/x: expected https://HOST"),
        ("serve --peer-listen 127.0.0.1:1 --peer-ca-file /no/ca", "--peer-ca-file /no/ca: No such file"),
        ("serve --log roadstead=loud", "--log roadstead=loud: "),
        ("serve --node-name=", "--node-name : must have 1 to 255"),
    ] {
        let failure = check(line).expect_err(line);
        assert!(failure.to_string().starts_with(message), "{line}: {failure}");
        assert_eq!(failure, Failure::usage(&failure), "{line}: the exit code is 2");
        assert!(!failure.to_string().contains("secret"), "{line}: {failure}");
    }
}

#[test]
fn what_clap_refuses_names_flag_and_value_too() {
    for (line, flag, value) in [
        ("serve --listen localhost", "--listen", "localhost"),
        ("serve --drain-timeout soon", "--drain-timeout", "soon"),
        ("serve --allow-anonymous-pulls maybe", "--allow-anonymous-pulls", "maybe"),
        ("serve --log-format xml", "--log-format", "xml"),
        ("serve --mirror-group a//b", "--mirror-group", "a//b"),
        ("serve --mirror-host mirror.example", "--mirror-host", "mirror.example"),
        ("serve --mirror-host ho/st=acme", "--mirror-host", "ho/st=acme"),
        ("serve --mirror-host host=-acme", "--mirror-host", "host=-acme"),
        ("serve --trusted-proxy proxy.example", "--trusted-proxy", "proxy.example"),
        ("serve --listen-backlog many", "--listen-backlog", "many"),
        ("serve --trusted-proxy 10.0.0.0/33", "--trusted-proxy", "10.0.0.0/33"),
        ("dataplane --node-token x --control 127.0.0.1:7071", "--control", "127.0.0.1:7071"),
        ("control --database-pool-size 2", "--database-pool-size", "'2'"),
        ("control --database-timeout 2m", "--database-timeout", "'2m'"),
        ("serve --registry-token-lifetime 0s", "--registry-token-lifetime", "'0s'"),
        ("control --registry-token-lifetime 25h", "--registry-token-lifetime", "'25h'"),
        ("serve --gc-grace 100years", "--gc-grace", "'100years'"),
        ("serve --audit-retention 1h", "--audit-retention", "'1h'"),
        ("serve --max-control-outage 0s", "--max-control-outage", "'0s'"),
        ("serve --upstream-connect-timeout 0s", "--upstream-connect-timeout", "'0s'"),
        ("dataplane", "--node-token", ""),
    ] {
        let error = Cli::try_parse_from(["roadstead"].into_iter().chain(line.split(' '))).expect_err(line);
        let text = error.to_string();
        assert!(text.contains(flag) && text.contains(value), "{line}: {text}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn the_defaults_are_the_contract_s() {
    let settings = serve("serve");
    assert_eq!(settings.dataplane.listen.to_string(), "127.0.0.1:7070");
    assert_eq!(settings.control_listen.to_string(), "127.0.0.1:7071");
    assert_eq!(settings.process.metrics_listen.to_string(), "127.0.0.1:7072");
    assert_eq!(settings.process.data_dir, Path::new("./roadstead-data"));
    assert_eq!(settings.control.registry_token_lifetime, Duration::from_secs(15 * 60));
    assert_eq!(settings.control.gc_grace, Duration::from_secs(3600));
    assert_eq!(settings.control.audit_retention, Duration::from_secs(400 * 86_400));
    assert_eq!(settings.dataplane.port.timeouts.drain, Duration::from_secs(30));
    let blobs = std::env::current_dir().unwrap().join("roadstead-data/blobs");
    assert_eq!(settings.dataplane.storage, StorageUrl::Local(blobs));
}

#[test]
fn anonymous_pulls_default_to_loopback_without_anything_in_front() {
    for (line, allowed) in [
        ("serve", true),
        ("serve --listen [::1]:7070", true),
        ("serve --listen 0.0.0.0:7070", false),
        ("serve --listen 192.0.2.1:7070", false),
        ("serve --listen 0.0.0.0:7070 --allow-anonymous-pulls true", true),
        ("serve --allow-anonymous-pulls false", false),
        ("serve --external-url https://images.example", false),
        ("serve --trusted-proxy 127.0.0.1", false),
        ("serve --external-url https://images.example --allow-anonymous-pulls true", true),
    ] {
        assert_eq!(serve(line).dataplane.allow_anonymous_pulls, allowed, "{line}");
    }
}

#[test]
fn trusted_proxies_are_addresses_and_networks() {
    let line = "serve --trusted-proxy 10.0.0.0/8,192.0.2.1 --trusted-proxy 2001:db8::/32";
    let settings = serve(line);
    // On every port.
    for ports in [&settings.dataplane.port, &settings.process.ports] {
        let networks: Vec<_> = ports.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    }
    assert!(serve("serve").process.ports.trusted_proxies.is_empty());
}

#[test]
fn listeners_on_port_0_never_collide() {
    serve("serve --listen 127.0.0.1:0 --control-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0");
}
