//! The repository keeps its own rules.

mod security_bar;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Who may use whom; no other arrow exists.
const ARROWS: [(&str, &[&str]); 9] = [
    (
        "Cargo.toml",
        &[
            "prognet-actors",
            "prognet-cluster",
            "prognet-config",
            "prognet-http",
            "prognet-storage",
            "prognet-supervisor",
            "prognet-sdk",
        ],
    ),
    ("config/Cargo.toml", &[]),
    ("http/Cargo.toml", &["prognet-actors", "prognet-sdk", "prognet-supervisor"]),
    ("actors/Cargo.toml", &["prognet-supervisor"]),
    ("cluster/Cargo.toml", &["prognet-supervisor"]),
    ("supervisor/Cargo.toml", &["prognet-storage"]),
    ("storage/Cargo.toml", &[]),
    ("sdk/rust/Cargo.toml", &[]),
    ("benches/Cargo.toml", &["prognet-actors", "prognet-cluster", "prognet-storage", "prognet-supervisor"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn crates_use_only_what_lies_below_them() {
    for (manifest, allowed) in ARROWS {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        for section in ["dependencies", "dev-dependencies"] {
            let used =
                manifest.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
            for name in used.filter(|name| name.starts_with("prognet-")) {
                assert!(allowed.contains(&name.as_str()), "{manifest:?} must not use {name}");
            }
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push((
                path.strip_prefix(root()).unwrap().display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
}

#[test]
fn sources_keep_the_rules_no_compiler_checks() {
    let mut found = Vec::new();
    sources(root(), &mut found);
    assert!(found.len() > 40);
    for (path, text) in found.iter().filter(|(path, _)| path != "tests/tidy.rs") {
        let lines = text.lines().count();
        // Two loops are read as one piece each.
        let limit = if ["supervisor/entity.rs", "storage/embedded/log.rs"].contains(&path.as_str()) {
            700
        } else {
            500
        };
        assert!(lines <= limit, "{path} has {lines} lines");
        assert!(text.starts_with("//!"), "{path} does not say what it is");
        for word in ["TODO", "FIXME", "thread::sleep"] {
            assert!(!text.contains(word), "{path} says {word}");
        }
        let may_use_bincode = path == "storage/codec/compact.rs";
        assert!(may_use_bincode || !text.contains("bincode::"), "{path} uses bincode");
        let is_adapter = ["/channel/", "/gateway/"].iter().any(|folder| path.contains(folder));
        let is_client = ["sdk/", "tests/", "benches/"].iter().any(|folder| path.starts_with(folder));
        assert!(is_adapter || !text.contains("lettre::"), "{path} sends mail");
        assert!(is_adapter || is_client || !text.contains("reqwest::"), "{path} calls others");
        let may_use_sled = path == "storage/embedded/tier.rs";
        assert!(may_use_sled || !text.contains("sled::"), "{path} uses sled");
    }
}

/// The files where crates begin, as their manifests say.
fn crate_roots() -> Vec<PathBuf> {
    let mut roots = Vec::new();
    for (manifest, _) in ARROWS {
        let path = root().join(manifest);
        let table: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let many =
            ["bin", "test", "bench", "example"].into_iter().filter_map(|kind| table.get(kind)?.as_array());
        let targets = many.flatten().chain(table.get("lib"));
        let files = targets.map(|target| path.with_file_name(target["path"].as_str().unwrap()));
        roots.extend(files);
    }
    roots
}

/// The files that `file` names as its modules, and theirs.
fn reach(file: &Path, is_root: bool, reached: &mut Vec<PathBuf>) {
    reached.push(file.to_owned());
    let folder = if is_root { file.with_file_name("") } else { file.with_extension("") };
    let mut is_elsewhere = false;
    for line in fs::read_to_string(file).unwrap().lines() {
        let declared = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        if let Some(name) = declared.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
            && !is_elsewhere
        {
            reach(&folder.join(name).with_extension("rs"), false, reached);
        }
        // Of another crate, where it is met as well.
        is_elsewhere = declared.starts_with("#[path");
    }
}

#[test]
fn no_source_is_dead() {
    let mut reached = Vec::new();
    for file in crate_roots() {
        reach(&file, true, &mut reached);
    }
    let mut found = Vec::new();
    sources(root(), &mut found);
    for (path, _) in found {
        assert!(reached.contains(&root().join(&path)), "no crate compiles {path}");
    }
}

#[test]
fn the_readme_names_the_commands_that_are_run() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains("cargo run --release -- serve"));
    assert!(readme.contains("\n./check\n"));
    assert!(fs::read_to_string(root().join(".ci/run")).unwrap().ends_with("exec ./check\n"));
}
