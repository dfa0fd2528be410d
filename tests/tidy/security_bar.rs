//! `docs/security-bar.md` is the index of the tests that prove it, and stays one.

use std::collections::{BTreeMap, BTreeSet};

use super::{root, sources};

/// What a test's comment begins with that names a line.
const NAMED: &str = "/// Security bar ";
/// The lines there are.
const LINES: u32 = 50;

/// The lines of the document, and whether each is in force.
fn lines(document: &str) -> BTreeMap<u32, bool> {
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<_> = line.split(" | ").collect();
        let number = cells.first()?.strip_prefix("| ")?.trim().parse().ok()?;
        let [_, _, _, state] = cells[..] else { panic!("{line} has no four cells") };
        let is_in_force = state == "in force |";
        assert!(is_in_force || state.starts_with("not yet: "), "{line} is neither in force nor says why not");
        Some((number, is_in_force))
    });
    rows.collect()
}

/// The lines that a comment names: `12: ...`, `12.`, or `12 and 13: ...`.
fn numbers(comment: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for word in comment.split_whitespace() {
        let number = word.trim_end_matches([':', '.', ',']);
        match number.parse() {
            Ok(number) => numbers.push(number),
            Err(_) if word == "and" => {}
            Err(_) => break,
        }
        if word.ends_with([':', '.']) {
            break;
        }
    }
    numbers
}

/// The lines that a source's tests name; a comment over anything but a test names none.
fn named(path: &str, source: &str) -> BTreeSet<u32> {
    let mut named = BTreeSet::new();
    let lines: Vec<_> = source.lines().map(str::trim_start).collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(comment) = line.strip_prefix(NAMED) else { continue };
        let numbers = numbers(comment);
        assert!(!numbers.is_empty(), "{path} names no line: {line}");
        let above = lines[at..].iter().take_while(|line| line.starts_with("///") || line.starts_with("#["));
        let is_test = above.clone().any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"));
        let function = lines.get(at + above.count());
        let is_function =
            function.is_some_and(|line| line.starts_with("fn ") || line.starts_with("async fn "));
        assert!(is_test && is_function, "{path} names lines {numbers:?} over what is no test");
        named.extend(numbers);
    }
    named
}

#[test]
fn every_line_of_the_security_bar_in_force_is_proven_by_a_test_that_names_it() {
    let document = std::fs::read_to_string(root().join("docs/security-bar.md")).unwrap();
    let lines = lines(&document);
    assert_eq!(lines.keys().copied().collect::<Vec<_>>(), (1..=LINES).collect::<Vec<_>>());
    let mut found = Vec::new();
    sources(root(), &mut found);
    let proven: BTreeSet<_> = found.iter().flat_map(|(path, source)| named(path, source)).collect();

    let unknown: Vec<_> = proven.iter().filter(|number| !lines.contains_key(number)).collect();
    assert!(unknown.is_empty(), "tests name lines that are not there: {unknown:?}");
    let unproven: Vec<_> =
        lines.iter().filter(|(number, is_in_force)| **is_in_force && !proven.contains(number)).collect();
    assert!(unproven.is_empty(), "no test names these lines: {unproven:?}");
}

#[test]
fn a_name_counts_only_over_a_test() {
    let of = |source: &str| std::panic::catch_unwind(|| named("x", source)).ok();
    let name = format!("{NAMED}7: no.\n");
    let test = format!("{name}#[tokio::test]\nasync fn a() {{}}\n");
    assert_eq!(of(&test), Some(BTreeSet::from([7])));
    assert_eq!(of(&format!("{name}#[test]\nfn a() {{}}\n")), Some(BTreeSet::from([7])));
    let two = format!("{NAMED}46 and 47 over IPv6, of 12.\n#[test]\nfn a() {{}}\n");
    assert_eq!(of(&two), Some(BTreeSet::from([46, 47])));
    assert_eq!(of("fn a() {}\n"), Some(BTreeSet::new()));
    for bad in
        [format!("{name}fn a() {{}}\n"), format!("{name}struct A;\n"), format!("{NAMED}x: no.\n{test}")]
    {
        assert_eq!(of(&bad), None, "{bad}");
    }
}
