//! The tools that read the files in `deploy/` accept them, and the files use only settings and metrics that the executable
//! has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions, executable},
    engines::Podman,
    hub::{Fault, Hub, Kind, When},
    image::{Image, random_bytes},
    process::run,
    seaweed::Seaweed,
};

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path).canonicalize().unwrap()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// Every file below `folder`, but for links.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// The words of `text` that begin with `prefix` and go on in characters that `more` admits.
fn words(text: &str, prefix: &str, more: impl Fn(char) -> bool) -> BTreeSet<String> {
    text.match_indices(prefix)
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| more(c)))
        .map(|(at, _)| text[at..].chars().take_while(|c| more(*c)).collect())
        .collect()
}

fn variables(text: &str) -> BTreeSet<String> {
    words(text, "ROADSTEAD_", |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[tokio::test]
async fn every_setting_in_the_deployment_files_is_one_that_the_servers_know() {
    let mut known = BTreeSet::new();
    for server in ["serve", "control", "dataplane"] {
        known.extend(variables(&run(executable().to_str().unwrap(), &[server, "--help"]).await.ok()));
    }
    // Read without a flag; the command line's own.
    known.extend(["ROADSTEAD_ADMIN_TOKEN", "ROADSTEAD_TOKEN", "ROADSTEAD_"].map(String::from));
    let files = files(&deploy("."));
    assert!(files.len() > 12, "{files:?}");
    for file in files {
        let unknown: Vec<_> = variables(&text(&file)).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} are no settings; known are {known:?}", file.display());
    }
}

#[tokio::test]
async fn every_metric_in_alerts_and_dashboard_is_exported() {
    let hub = Hub::start().await;
    let seaweed = Seaweed::start().await;
    seaweed.create_bucket("blobs").await;
    let options = ClusterOptions {
        arguments: ["--storage", "s3://blobs"].map(String::from).to_vec(),
        environment: Seaweed::environment(&format!("http://{}", seaweed.address())),
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(&hub, options).await;
    let client = cluster.anonymous();
    hub.push("library/app", "latest", &Image::small(1));
    client.manifest("app", "latest").await.expect(200);
    let blob = hub.push_blob("library/app", random_bytes(1, 1000));
    client.blob_hit("app", &blob).await;
    // Makes families whose members come with their first event.
    hub.push("library/app", "limited", &Image::small(2));
    hub.fault(When::kind(Kind::Manifest), Fault::RateLimited(60));
    for _ in 0..2 {
        client.manifest("app", "limited").await.expect(429);
    }
    let page = String::from_utf8(cluster.metrics_port("/metrics").await.body.to_vec()).unwrap();
    let metric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    for file in ["prometheus/alerts.yaml", "grafana/roadstead.json"] {
        let text = text(&deploy(file));
        let named = words(&text, "roadstead_", metric).into_iter().chain(words(&text, "process_", metric));
        for name in named {
            let family = ["_total", "_bucket", "_info"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let family = family.unwrap_or(&name);
            assert!(page.contains(&format!("# HELP {family} ")), "{file}: {name} is not exported:\n{page}");
        }
    }
}

#[tokio::test]
async fn alert_rules_are_good_and_fire_when_they_should() {
    let folder = deploy("prometheus");
    run("promtool", &["check", "rules", folder.join("alerts.yaml").to_str().unwrap()]).await.ok();
    run("promtool", &["test", "rules", folder.join("alerts_test.yaml").to_str().unwrap()]).await.ok();
}

#[tokio::test]
async fn the_dashboard_is_json_whose_panels_do_not_overlap() {
    let dashboard: serde_json::Value = serde_json::from_str(&text(&deploy("grafana/roadstead.json"))).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{}", panel["title"]);
            }
        }
    }
    assert!(panels.len() > 10);
}

#[tokio::test]
async fn the_chart_renders_with_everything_on_and_asks_for_what_it_needs() {
    let chart = deploy("helm/roadstead");
    let chart = chart.to_str().unwrap();
    let needed = "secrets.existing=roadstead,storage.url=s3://bucket/blobs";
    run("helm", &["lint", "--strict", chart, "--set", needed]).await.ok();
    let all = [
        "ingress.enabled=true,ingress.host=images.example,ingress.tlsSecret=tls,networkPolicy.enabled=true",
        "dataplane.autoscaling.enabled=true,dataplane.autoscaling.targetRequestsInFlight=50",
        "metrics.podMonitor.enabled=true,metrics.rules.enabled=true,dataplane.preStopSleepSeconds=5,control.replicas=3",
        "dataplane.nodeCache.storageClassName=fast,storage.redirectBlobs=true,storage.s3Endpoint=http://s3",
    ]
    .join(",");
    let rendered = run("helm", &["template", "r", chart, "--set", needed, "--set", &all]).await.ok();
    for kind in ["StatefulSet", "Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress", "PodMonitor"]
    {
        assert!(rendered.contains(&format!("kind: {kind}\n")), "{kind}:\n{rendered}");
    }
    for expected in ["http://r-roadstead-control-2.r-roadstead-control:7071", "RoadsteadDown", "runAsNonRoot: true"] {
        assert!(rendered.contains(expected), "{expected}:\n{rendered}");
    }
    let plain = run("helm", &["template", "r", chart, "--set", needed]).await.ok();
    // A full emptyDir with a limit gets the pod evicted.
    assert!(plain.contains("ephemeral-storage: 20Gi") && !plain.contains("sizeLimit"), "{plain}");
    let six = format!("{needed},ipFamily=IPv6");
    let rendered = run("helm", &["template", "r", chart, "--set", &six]).await.ok();
    assert!(rendered.contains("http://[$(POD_IP)]:7073") && !rendered.contains("0.0.0.0"), "{rendered}");
    let refused = run("helm", &["template", "r", chart]).await.failed();
    assert!(refused.contains("secrets.existing: name a Secret") || refused.contains("storage.url: say"), "{refused}");
}

#[tokio::test]
async fn the_compose_file_the_balancer_and_the_unit_are_well_formed() {
    let folder = tempfile::tempdir().unwrap();
    let environment = folder.path().join("env");
    let filled: Vec<_> = text(&deploy("compose/example.env"))
        .lines()
        .map(
            |line| {
                if line.ends_with('=') { format!("{line}0123456789abcdef0123456789abcdef") } else { line.to_owned() }
            },
        )
        .collect();
    fs::write(&environment, filled.join("\n")).unwrap();
    let compose = deploy("compose/compose.yaml");
    // Compose gives secrets from the environment to no service with a read-only root.
    assert!(!text(&compose).contains("\nsecrets:"));
    let arguments =
        ["-f", compose.to_str().unwrap(), "--env-file", environment.to_str().unwrap(), "config", "--services"];
    let services = run("podman-compose", &arguments).await.ok();
    for service in ["postgres", "s3", "control-1", "control-2", "node-1", "node-2", "node-3", "balancer"] {
        assert!(services.lines().any(|line| line == service), "{service}: {services}");
    }
    run("haproxy", &["-c", "-f", deploy("compose/haproxy.cfg").to_str().unwrap()]).await.ok();
    // The unit names a path that need not be there; everything else has to be right.
    let unit = folder.path().join("roadstead.service");
    let text = text(&deploy("roadstead.service")).replace("/usr/local/bin/roadstead", executable().to_str().unwrap());
    fs::write(&unit, text).unwrap();
    run("systemd-analyze", &["verify", unit.to_str().unwrap()]).await.ok();
}

#[tokio::test]
async fn the_image_is_the_executable_run_by_nobody_of_importance() {
    let context = tempfile::tempdir().unwrap();
    fs::copy(executable(), context.path().join("roadstead")).unwrap();
    fs::write(context.path().join("ca-certificates.crt"), "").unwrap();
    let podman = Podman::new();
    let dockerfile = deploy("Dockerfile");
    let (dockerfile, context) = (dockerfile.to_str().unwrap(), context.path().to_str().unwrap());
    let build =
        ["build", "--pull=never", "-f", dockerfile, "--build-arg", "BINARY=prebuilt", "-t", "roadstead", context];
    podman.podman(&build).await.ok();
    let format = "{{.Config.User}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{len .RootFS.Layers}}";
    let inspected = podman.podman(&["image", "inspect", "--format", format, "localhost/roadstead"]).await.ok();
    assert_eq!(inspected.trim(), "65532:65532 [/roadstead] [serve] 1");
}
