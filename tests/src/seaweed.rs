//! SeaweedFS with its S3 gateway, on loopback, with a folder of its own.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{client, ports::free_address, process::Daemon};

/// Longest that a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The access key that may do everything.
pub const ACCESS_KEY: &str = "roadstead-test";
/// Its secret.
pub const SECRET_KEY: &str = "roadstead-test-secret";
/// The region that clients must name.
pub const REGION: &str = "us-east-1";

/// A running store. Dropping it ends it and removes its folder.
pub struct Seaweed {
    s3: SocketAddr,
    filer: SocketAddr,
    daemon: Daemon,
    _folder: TempDir,
}

impl Seaweed {
    /// Starts an empty store without buckets.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-seaweed-").tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let access = folder.path().join("s3.json");
        fs::write(&access, ACCESS.replace("ACCESS", ACCESS_KEY).replace("SECRET", SECRET_KEY)).unwrap();
        let (filer, s3) = (free_address(), free_address());
        let mut command = Command::new("weed");
        command.arg(format!("-logdir={}", folder.path().display())).arg("server");
        command.args(SETTINGS).arg(format!("-dir={}", data.display()));
        command.arg(format!("-filer.port={}", filer.port())).arg(format!("-s3.port={}", s3.port()));
        command.arg(format!("-s3.config={}", access.display()));
        for role in OTHER_PORTS {
            command.arg(format!("-{role}={}", free_address().port()));
        }
        // It puts sockets beside its temporary files.
        command.env("TMPDIR", folder.path()).current_dir(folder.path());
        let mut daemon = Daemon::spawn(&mut command, &folder.path().join("log"));
        let (http, url) = (client::http(), format!("http://{s3}/healthz"));
        let answers = async || http.get(&url).send().await.ok().filter(|answer| answer.status().is_success());
        daemon.wait_for(START_TIMEOUT, answers).await;
        Self { s3, filer, daemon, _folder: folder }
    }

    /// Returns the address of S3.
    pub fn address(&self) -> SocketAddr {
        self.s3
    }

    /// Returns its URL, `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.s3)
    }

    /// Makes an empty bucket. (In SeaweedFS that is a folder.)
    pub async fn create_bucket(&self, name: &str) {
        let made = client::http().post(format!("http://{}/buckets/{name}/", self.filer)).send().await.unwrap();
        assert!(made.status().is_success(), "bucket {name}: {}", made.status());
    }

    /// The paths of everything in a bucket that is complete, in order; parts of uploads under way are not.
    pub async fn objects(&self, bucket: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![format!("/buckets/{bucket}/")];
        while let Some(folder) = folders.pop() {
            let url = format!("http://{}{folder}?limit=10000", self.filer);
            let answer = client::http().get(url).header("accept", "application/json").send().await.unwrap();
            let listed: serde_json::Value = answer.json().await.unwrap();
            for entry in listed["Entries"].as_array().into_iter().flatten() {
                let path = entry["FullPath"].as_str().unwrap();
                // Mode is Go's: the highest bit says folder.
                match entry["Mode"].as_u64().unwrap() & (1 << 31) != 0 {
                    true if path.ends_with("/.uploads") => {}
                    true => folders.push(format!("{path}/")),
                    false => found.push(path.trim_start_matches(&format!("/buckets/{bucket}/")).to_owned()),
                }
            }
        }
        found.sort();
        found
    }

    /// Puts something in the place of an object, past S3.
    pub async fn replace(&self, bucket: &str, path: &str, content: Vec<u8>) {
        let url = format!("http://{}/buckets/{bucket}/{path}", self.filer);
        let put = client::http().put(url).body(content).send().await.unwrap();
        assert!(put.status().is_success(), "{path}: {}", put.status());
    }

    /// Takes an object away, past S3.
    pub async fn remove(&self, bucket: &str, path: &str) {
        let url = format!("http://{}/buckets/{bucket}/{path}", self.filer);
        let gone = client::http().delete(url).send().await.unwrap();
        assert!(gone.status().is_success(), "{path}: {}", gone.status());
    }

    /// Returns the number of multipart uploads of a bucket that are neither completed nor aborted.
    pub async fn uploads(&self, bucket: &str) -> usize {
        let url = format!("http://{}/buckets/{bucket}/.uploads/?limit=1000", self.filer);
        let answer = client::http().get(url).header("accept", "application/json").send().await.unwrap();
        if !answer.status().is_success() {
            return 0;
        }
        let listed: serde_json::Value = answer.json().await.unwrap();
        listed["Entries"].as_array().map_or(0, Vec::len)
    }

    /// The environment of a program that is to use it by way of `endpoint`.
    pub fn environment(endpoint: &str) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // An orderly stop takes seconds and saves what nobody will read.
        self.daemon.signal(Signal::KILL);
    }
}

/// Loopback only, no word to anybody, quick to elect itself.
const SETTINGS: [&str; 13] = [
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-master.telemetry=false",
    "-master.electionTimeout=1s",
    "-master.heartbeatInterval=100ms",
    "-master.volumeSizeLimitMB=1024",
    "-volume.max=200",
    "-volume.minFreeSpace=1",
    "-filer",
    "-s3",
    "-s3.iam=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
];

/// The other ports that it listens on.
const OTHER_PORTS: [&str; 6] =
    ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc"];

/// The identities and their rights.
const ACCESS: &str = r#"{"identities": [{"name": "test",
    "credentials": [{"accessKey": "ACCESS", "secretKey": "SECRET"}],
    "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}"#;
