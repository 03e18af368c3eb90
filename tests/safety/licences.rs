//! Every crate that we are built from has a permissive licence.

use std::process::Command;

use crate::counts::count;

/// Licences that ask for nothing but their text and the names in it.
const PERMITTED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Whether an SPDX expression can be fulfilled with permitted licences alone.
fn is_permitted(expression: &str) -> bool {
    let text = expression.replace('/', " OR ");
    any_of(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn any_of(text: &str) -> bool {
    parts(text, " OR ").into_iter().any(|part| {
        parts(&part, " AND ").into_iter().all(|one| match one.strip_prefix('(') {
            Some(inner) => any_of(inner.strip_suffix(')').unwrap_or(inner)),
            None => PERMITTED.contains(&one.as_str()),
        })
    })
}

/// Parts between separators that stand outside of parentheses.
fn parts(text: &str, separator: &str) -> Vec<String> {
    let (mut depth, mut all, mut part) = (0, Vec::new(), String::new());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if depth == 0 && rest.starts_with(separator) {
            all.push(std::mem::take(&mut part));
            rest = &rest[separator.len()..];
            continue;
        }
        depth += i32::from(next == '(') - i32::from(next == ')');
        part.push(next);
        rest = &rest[next.len_utf8()..];
    }
    all.push(part);
    all.into_iter().map(|part| part.trim().to_owned()).collect()
}

#[test]
fn expressions_are_understood() {
    for good in ["MIT", "MIT/GPL-3.0", "(MIT OR GPL-2.0) AND Unicode-3.0", "GPL-2.0 OR ISC"] {
        assert!(is_permitted(good), "{good}");
    }
    for bad in ["GPL-3.0", "", "MIT AND GPL-2.0", "(MIT AND LGPL-2.1) OR AGPL-3.0", "MPL-2.0"] {
        assert!(!is_permitted(bad), "{bad}");
    }
}

/// The platform that cargo builds for when it is told none.
fn host(cargo: &str) -> String {
    let said = Command::new(cargo).arg("-vV").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    said.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

#[test]
fn every_crate_has_a_permissive_licence() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let listed = Command::new(&cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        // What is built for other platforms is not there after a build.
        .args(["--filter-platform", &host(&cargo)])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let packages = listed["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "only {} crates", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_permitted(package["license"].as_str().unwrap_or_default()))
        .map(|package| {
            format!("{} {}: {}", package["name"], package["version"], package["license"])
        })
        .collect();
    assert!(refused.is_empty(), "not permitted: {refused:#?}");
    count(&format!("licences: {} crates, all permissive", packages.len()));
}
