//! Texts that are no TOML, and texts that are anything at all: something useful is said, and nothing panics.

use mainstay_core::random::Rng;

use super::super::report::render_text;
use super::{SMALL, read, shown};

#[test]
fn syntax_errors_do_not_hide_the_rest() {
    let text = "[node]\nworkers = 0\nname = lb1\n[[listener]]\nname = \"web\"\nbind = \"x\"\n";
    let lines = shown(text);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("m.toml:2:11: node.workers: 0 is out of bounds"), "{lines:#?}");
    assert!(lines[1].starts_with("m.toml:3:"), "{lines:#?}");
    assert!(lines[2].starts_with("m.toml:6:8: listener[0].bind: `x` is not an address"), "{lines:#?}");
}

#[test]
fn an_open_bracket_brings_one_error_and_not_fifty() {
    let text = format!("[node]\nshutdown = {{ lead = \"1s\"\n{SMALL}");
    let lines = shown(&text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("a bracket or quote before this may not be closed"), "{lines:#?}");
}

#[test]
fn nesting_without_end_is_refused() {
    for text in [
        format!("a{} = 1", ".a".repeat(100_000)),
        format!("[a{}]", ".a".repeat(100_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("[[route]]\nmatch = {{ headers{} = 1 }}", ".a".repeat(100_000)),
        "x = [\n".repeat(10_000),
    ] {
        assert!(read(&text).is_err());
    }
    let many: String = (0..20_000).map(|number| format!("k{number} = 1\n")).collect();
    assert!(
        read(&format!("{SMALL}[[route]]\nname = \"r\"\nservice = \"app\"\n[route.match.headers]\n{many}")).is_err()
    );
}

/// Cuts, doubles, swaps and damages pieces of the examples. The fuzz target goes on where this stops.
#[test]
fn nothing_panics() {
    let pieces = [
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "=",
        ",",
        ".",
        "\n",
        "#",
        "\\",
        "\u{0}",
        "\u{feff}",
        "ü",
        "\"\"\"",
        "[[",
        "0x",
        "1e999",
        "nan",
        "1979-05-27",
        "true",
        "\"5\"",
        "\"%\"",
        "\"-\"",
        "99999999999999999999",
        "\":\"",
        "\"[\"",
        "\"*\"",
        "\"é:80\"",
        "\"a:é\"",
    ];
    let examples = super::repository::examples();
    let mut rng = Rng::seeded(7);
    for _round in 0..3_000 {
        let mut text: Vec<char> = examples[rng.below(examples.len())].1.chars().collect();
        for _edit in 0..=rng.below(4) {
            let from = rng.below(text.len() + 1);
            let until = (from + rng.below(20)).min(text.len());
            match rng.below(3) {
                0 => drop(text.drain(from..until)),
                1 => {
                    let copy = text[from..until].to_vec();
                    let at = rng.below(text.len() + 1);
                    text.splice(at..at, copy).for_each(drop);
                }
                _piece => text.splice(from..until, pieces[rng.below(pieces.len())].chars()).for_each(drop),
            }
        }
        let text: String = text.into_iter().collect();
        let result = read(&text);
        let shown = render_text("m.toml".as_ref(), &result);
        assert!(result.is_ok() || shown.contains("error: "), "{text}");
    }
}
