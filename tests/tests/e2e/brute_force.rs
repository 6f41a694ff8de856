//! Guessing at the registry port: slowed, then refused for a while with `Retry-After`, from where it comes from and
//! nowhere else.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use roadstead_proto::v1::{Role, Visibility};
use roadstead_tests::{
    api::PULL,
    client::{Answer, Client},
    cluster::{Cluster, ClusterOptions},
};

const PASSWORD: &str = "correct horse battery";

async fn cluster() -> Cluster {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    admin.user("alice", PASSWORD, false).await;
    admin.member("acme", "alice", Role::Guest).await;
    cluster
}

async fn sign_in(cluster: &Cluster, from: [u8; 4], name: &str, password: &str) -> Answer {
    let client = Client::new(&cluster.url(), "acme", Some((name.into(), password.into())));
    client.from_address(IpAddr::from(from)).sign_in("app").await
}

/// Guesses until the server refuses further attempts; returns their number, the duration of the last one, and the refusal.
async fn guess(cluster: &Cluster, from: [u8; 4], name: &str) -> (usize, Duration, Answer) {
    let mut slowest = Duration::ZERO;
    for tries in 1..=100 {
        let since = Instant::now();
        let answer = sign_in(cluster, from, name, &format!("wrong password {tries}")).await;
        if answer.status == 429 {
            return (tries - 1, slowest, answer);
        }
        slowest = since.elapsed();
        answer.expect_error(401, "UNAUTHORIZED");
    }
    panic!("a hundred guesses, and none was refused");
}

#[tokio::test]
async fn guessing_is_slowed_then_refused_and_the_owner_signs_in_from_elsewhere() {
    let cluster = cluster().await;
    let attacker = [127, 0, 0, 66];
    let (tries, slowest, refused) = guess(&cluster, attacker, "alice").await;
    assert!(tries <= 20, "{tries} tries");
    assert!(slowest >= Duration::from_millis(500), "the last try was answered after {slowest:?}");
    let refused = refused.expect_error(429, "TOOMANYREQUESTS");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    // Not even the right password tells the guesser anything now; the owner is let in from another address, at once.
    sign_in(&cluster, attacker, "alice", PASSWORD).await.expect_error(429, "TOOMANYREQUESTS");
    let since = Instant::now();
    sign_in(&cluster, [127, 0, 0, 67], "alice", PASSWORD).await.expect(200);
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    // Secrets that nobody can guess are not held up by guesses from the same office.
    let token = cluster.admin().deploy("acme", &PULL).await;
    sign_in(&cluster, attacker, &token.username, &token.token).await.expect(200);
}

#[tokio::test]
async fn guessing_many_names_from_one_address_is_refused_too() {
    let cluster = cluster().await;
    let attacker = [127, 0, 0, 66];
    let mut refused = None;
    for tries in 0..200 {
        let answer = sign_in(&cluster, attacker, &format!("user-{tries}"), "a wrong password").await;
        if answer.status == 429 {
            refused = Some((tries, answer));
            break;
        }
        answer.expect_error(401, "UNAUTHORIZED");
    }
    let (tries, answer) = refused.expect("guesses are refused some time");
    assert!(tries >= 20, "an office with some bad passwords is not shut out: {tries}");
    assert!(!answer.header("retry-after").is_empty());
    sign_in(&cluster, [127, 0, 0, 67], "alice", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_counts_and_not_the_proxy() {
    let arguments = ["--trusted-proxy", "127.0.0.9"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_bare(ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    admin.user("alice", PASSWORD, false).await;
    admin.member("acme", "alice", Role::Guest).await;
    let proxy: IpAddr = [127, 0, 0, 9].into();
    let through = |forwarded: &'static str, password: &'static str| {
        let http = roadstead_tests::client::builder().local_address(proxy).build().unwrap();
        let request = http.get(format!("{}/jwt/auth?service=dependency_proxy", cluster.url()));
        let request = request.header("x-forwarded-for", forwarded).basic_auth("alice", Some(password));
        async move { roadstead_tests::client::read(request.send().await).await.unwrap() }
    };
    let mut tries = 0;
    while through("198.51.100.1", "a wrong password").await.status != 429 {
        tries += 1;
        assert!(tries < 30, "guesses through the proxy are not counted");
    }
    through("198.51.100.1", PASSWORD).await.expect(429);
    through("198.51.100.2", PASSWORD).await.expect(200);
    // What the guesser says of itself before the proxy's word changes nothing.
    through("198.51.100.2, 198.51.100.1", PASSWORD).await.expect(429);
    // Nobody else may say where others come from.
    let listed = cluster.cli_json(&["audit", "list"]).await;
    assert!(listed.to_string().contains("198.51.100.1"), "{listed}");
}
