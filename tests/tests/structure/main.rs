//! The shape of the code, read from its imports: needs no server, no root, and no build of the crates.
//!
//! - No two modules import each other, at any level of any crate. A folder and the modules in it are one thing here: what
//!   counts is what lies side by side.
//! - A folder imports only folders that come after it in its crate's list.
//! - SQL, gRPC and HTTP status codes each stay where they belong.

#![allow(clippy::unwrap_used)] // A source that cannot be read fails the test.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
};

use source::{Crate, ModulePath};

/// Each crate's folders, from the top down.
const ORDER: [(&str, &[&str]); 2] = [
    (
        "control",
        &[
            "compose",
            "restore",
            "backup",
            "open",
            "web",
            "api",
            "watch",
            "usecases",
            "store",
            "jobs",
            "oidc",
            "auth",
            "rules",
            "clock",
            "failpoint",
        ],
    ),
    (
        "dataplane",
        &[
            "start",
            "store_copy",
            "config",
            "http",
            "sign_in",
            "jobs",
            "reporter",
            "readiness",
            "pull",
            "peer",
            "respond",
            "trail",
            "access",
            "maintenance",
            "fill",
            "links",
            "listener",
            "metrics",
            "storage",
            "upstream",
            "control",
            "trace_context",
            "node_id",
            "route",
            "mirror",
            "cache_status",
            "singleflight",
            "backoff",
            "random",
            "failpoint",
        ],
    ),
];

/// The folders of a crate in which each word of a technology may stand.
const PLACES: [(&str, &str, &[&str]); 5] = [
    ("control", "sqlx", &["store"]),
    ("control", "gRPC", &["api"]),
    ("dataplane", "gRPC", &["control::client"]),
    ("control", "StatusCode", &["api::rest", "web"]),
    // The upstream client reads what registries answer.
    ("dataplane", "StatusCode", &["respond", "upstream"]),
];

/// Circles that are still there: crate, and the modules of one. This list only shrinks.
const CIRCLES: &[(&str, &[&str])] = &[];

/// Imports that still go up: crate, from, to. This list only shrinks.
const UPWARDS: &[(&str, &str, &str)] = &[];

/// Modules that still hold what belongs elsewhere: crate, what, module. This list only shrinks.
const MISPLACED: &[(&str, &str, &str)] = &[
    ("dataplane", "StatusCode", "fill::peer_client"),
    ("dataplane", "StatusCode", "peer::server"),
    ("dataplane", "StatusCode", "pull"),
    ("dataplane", "StatusCode", "pull::fetch"),
    ("dataplane", "StatusCode", "pull::prefetch"),
    ("dataplane", "StatusCode", "pull::request"),
    ("dataplane", "StatusCode", "pull::tags"),
];

fn read(name: &str) -> Crate {
    Crate::read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src"))
}

/// Returns the imports between the modules of each folder.
fn siblings(found: &Crate) -> BTreeMap<ModulePath, BTreeMap<String, BTreeSet<String>>> {
    let mut folders: BTreeMap<ModulePath, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for module in found.modules.keys() {
        for target in found.imports_of(module) {
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
                let folder = folders.entry(module[..common].to_vec()).or_default();
                folder.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    folders
}

/// Everything that can be reached, going at least one step.
fn reachable<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for next in graph.get(at).into_iter().flatten() {
            if found.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    found
}

/// The shortest way from a module back to itself.
fn circle<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, from: &'a str) -> Vec<&'a str> {
    let mut ways = VecDeque::from([vec![from]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in way.last().and_then(|at| graph.get(*at)).into_iter().flatten() {
            let longer: Vec<&str> = way.iter().copied().chain([next.as_str()]).collect();
            if next == from {
                return longer;
            }
            if seen.insert(next) {
                ways.push_back(longer);
            }
        }
    }
    Vec::new()
}

/// Fails with what is found and not known, and with what is known and not found any more.
fn must_agree<T: Ord + std::fmt::Debug>(found: &BTreeMap<T, String>, known: &BTreeSet<T>) {
    let new: Vec<_> =
        found.iter().filter(|(key, _)| !known.contains(key)).map(|(key, shown)| format!("{key:?}: {shown}")).collect();
    let gone: Vec<_> = known.iter().filter(|key| !found.contains_key(key)).map(|key| format!("{key:?}")).collect();
    assert!(new.is_empty(), "against the rules of the house:\n{}", new.join("\n"));
    assert!(gone.is_empty(), "mended; take these off the list:\n{}", gone.join("\n"));
}

#[test]
fn no_two_modules_import_each_other() {
    let mut circles = BTreeMap::new();
    for name in ["proto", "control", "dataplane", "cli"] {
        for (folder, graph) in siblings(&read(name)) {
            for from in graph.keys() {
                let full =
                    |module: &str| folder.iter().map(String::as_str).chain([module]).collect::<Vec<_>>().join("::");
                let members = reachable(&graph, from);
                let members = members.into_iter().filter(|other| reachable(&graph, other).contains(from.as_str()));
                let members: Vec<String> = members.map(full).collect();
                if !members.is_empty() {
                    circles.insert((name.to_owned(), members), circle(&graph, from).join(" → "));
                }
            }
        }
    }
    let owned = |circle: &[&str]| circle.iter().map(|module| (*module).to_owned()).collect();
    must_agree(&circles, &CIRCLES.iter().map(|(name, circle)| ((*name).to_owned(), owned(circle))).collect());
}

#[test]
fn a_folder_imports_only_folders_below_it() {
    let mut upwards = BTreeMap::new();
    for (name, order) in ORDER.iter().filter(|(_, order)| !order.is_empty()) {
        let found = read(name);
        let rank = |folder: &str| order.iter().position(|other| *other == folder);
        for (from, targets) in siblings(&found).remove(&Vec::new()).unwrap_or_default() {
            assert!(rank(&from).is_some(), "{name}: where does {from} belong in the order of folders?");
            for to in targets.iter().filter(|to| rank(to) <= rank(&from)) {
                upwards.insert((*name, from.clone(), to.clone()), format!("the order is {order:?}"));
            }
        }
    }
    must_agree(
        &upwards,
        &UPWARDS.iter().map(|(name, from, to)| (*name, (*from).to_owned(), (*to).to_owned())).collect(),
    );
}

/// Checks whether a path names the technology `what`.
fn names(path: &ModulePath, what: &str) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match what {
        "gRPC" => matches!(
            path[..],
            ["tonic" | "prost" | "prost_types", ..]
                | ["roadstead_proto", "v1", ..]
                | ["roadstead_proto", "node", "v1", ..]
        ),
        "StatusCode" => path.contains(&"StatusCode"),
        name => path[0] == name,
    }
}

#[test]
fn sql_grpc_and_http_statuses_stay_where_they_belong() {
    let mut misplaced = BTreeMap::new();
    for (name, what, places) in PLACES {
        let found = read(name);
        for module in found.modules.keys() {
            let path = module.join("::");
            let is_home = |place: &&str| path == **place || path.starts_with(&format!("{place}::"));
            if !places.iter().any(is_home) && found.names_outside(module).any(|path| names(path, what)) {
                misplaced.insert((name, what, path), format!("belongs in {places:?}"));
            }
        }
    }
    must_agree(&misplaced, &MISPLACED.iter().map(|(name, what, path)| (*name, *what, (*path).to_owned())).collect());
}

#[test]
fn the_command_line_takes_its_client_from_the_contract() {
    let found = read("cli");
    let is_client =
        |path: &&ModulePath| path[0] == "roadstead_dataplane" && path.iter().any(|name| name.contains("lient"));
    for module in found.modules.keys() {
        let wrong: Vec<_> = found.names_outside(module).filter(is_client).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", module.join("::"));
    }
}
