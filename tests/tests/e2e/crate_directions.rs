//! The crates depend on each other only the way the design says.

use std::{collections::BTreeMap, env, process::Command};

use serde_json::Value;

#[test]
fn crates_depend_only_the_way_the_design_says() {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--format-version=1", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours: BTreeMap<&str, Vec<&str>> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            // The tests of a crate may use the fixtures; nothing that is delivered does.
            let is_fixture = |found: &&Value| found["kind"] == "dev" && found["name"] == "roadstead-tests";
            let ours = dependencies.filter(|found| !is_fixture(found));
            let ours = ours.filter_map(|found| found["name"].as_str()).filter(|name| name.starts_with("roadstead"));
            (package["name"].as_str().unwrap(), ours.collect())
        })
        .collect();
    let allowed = BTreeMap::from([
        ("roadstead-proto", vec![]),
        ("roadstead-control", vec!["roadstead-proto"]),
        ("roadstead-dataplane", vec!["roadstead-proto"]),
        ("roadstead", vec!["roadstead-control", "roadstead-dataplane", "roadstead-proto"]),
        ("roadstead-tests", vec!["roadstead", "roadstead-control", "roadstead-dataplane", "roadstead-proto"]),
    ]);
    assert_eq!(ours.keys().collect::<Vec<_>>(), allowed.keys().collect::<Vec<_>>());
    for (name, dependencies) in &ours {
        for dependency in dependencies {
            assert!(allowed[name].contains(dependency), "{name} must not depend on {dependency}");
        }
    }
    for plane in ["roadstead-control", "roadstead-dataplane"] {
        assert!(ours[plane].contains(&"roadstead-proto"), "{plane} speaks the contract");
    }
}
