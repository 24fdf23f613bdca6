//! The scanner against RFC 8259, against serde_json, and at its limits.

use super::*;
use proptest::prelude::*;

fn ok(text: &str) -> bool {
    Document::parse(text.as_bytes()).is_ok()
}

#[test]
fn the_grammar_is_rfc_8259_exactly() {
    for text in [
        "{}",
        "[]",
        " [ ] ",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.10",
        "1e5",
        "1E+5",
        "-1.5e-07",
        r#""""#,
        r#"{"a":[1,2,{"b":null}]}"#,
        r#""\u0041\n\/\\\"""#,
        r#""\ud83d\ude00""#,
        "\"é😀\"",
        "\"\u{7f}\"",
        r#"{"":1}"#,
    ] {
        assert!(ok(text), "`{text}`");
    }
    for text in [
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{,}",
        r#"{"a":1,}"#,
        r#"{"a"}"#,
        r#"{a:1}"#,
        "'a'",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "tru",
        "True",
        "1 2",
        "[] []",
        "{} x",
        "\"a",
        "\"a\nb\"",
        "\"\t\"",
        r#""\x41""#,
        r#""\u12""#,
        r#""\u12g4""#,
        "// c\n1",
        "\u{feff}{}",
        "[1}",
        r#"{"a":1]"#,
        "\u{0}",
        "1\u{0}",
    ] {
        assert!(!ok(text), "`{text}`");
    }
    assert_eq!(Document::parse(b"\"\xff\"").err(), Some(InvalidJson::Encoding(1)));
    for text in [r#""\ud800""#, r#""\ud800x""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud800\n""#] {
        assert!(matches!(Document::parse(text.as_bytes()), Err(InvalidJson::Surrogate(_))), "`{text}`");
    }
}

// RD-30, RD-31
#[test]
fn rd_30_duplicate_members_are_refused_after_unescaping() {
    for text in [
        r#"{"subject":1,"subject":2}"#,
        r#"{"\u0073ubject":1,"subject":2}"#,
        r#"{"a":{"x":1,"y":2,"x":3}}"#,
        r#"{"resourceType":"A","resourceType":"A"}"#,
        r#"{"":1,"":2}"#,
        r#"{"abcdefgh":1,"abcdefgh":2}"#,
    ] {
        assert!(matches!(Document::parse(text.as_bytes()), Err(InvalidJson::Duplicate(_))), "`{text}`");
    }
    for text in [r#"{"a":{"a":{"a":1}}}"#, r#"[{"a":1},{"a":2}]"#, r#"{"abcdefgh":1,"abcdefgi":2}"#] {
        assert!(ok(text), "`{text}`");
    }
    let wide = |extra: &str| {
        let members: Vec<_> = (0..200).map(|n| format!("\"k{n}\":{{\"k1\":{n}}}")).collect();
        format!("{{{}{extra}}}", members.join(","))
    };
    assert!(ok(&wide("")));
    assert!(!ok(&wide(",\"k7\":0")));
    assert!(!ok(&wide(",\"\\u006b199\":0")));
}

#[test]
fn limits_hold() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(ok(&deep(64)));
    assert!(matches!(Document::parse(deep(65).as_bytes()), Err(InvalidJson::Limit(_))));
    assert!(matches!(Document::parse("[".repeat(1_000_000).as_bytes()), Err(InvalidJson::Limit(_))));
    let wide = |n: usize| format!("{{{}}}", (0..n).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(","));
    assert!(ok(&wide(MEMBERS_MAX)));
    assert!(matches!(Document::parse(wide(MEMBERS_MAX + 1).as_bytes()), Err(InvalidJson::Limit(_))));
    let long = format!("[{}0]", "0,".repeat(NODES_MAX));
    assert!(matches!(Document::parse(long.as_bytes()), Err(InvalidJson::Limit(_))));
}

#[test]
fn values_are_found_and_keep_their_text() {
    let text = r#" {"a" : [1.10, "x\ny", {"b":true}], "\u0063":"d", "n":null} "#;
    let document = Document::parse(text.as_bytes()).unwrap();
    let root = document.root();
    assert_eq!(root.span(), 1..text.len() - 1);
    let a: Vec<_> = root.get("a").unwrap().elements().map(|v| v.raw()).collect();
    assert_eq!(a, ["1.10", r#""x\ny""#, r#"{"b":true}"#]);
    assert_eq!(root.get_str("c").as_deref(), Some("d"));
    assert_eq!(root.members().map(|(key, _)| key.text().into_owned()).collect::<Vec<_>>(), ["a", "c", "n"]);
    assert!(root.get("zz").is_none());
    let mut seen = Vec::new();
    root.at_path(&["a", "b"], &mut |value| seen.push(value.as_bool()));
    assert_eq!(seen, [Some(true)]);
    assert_eq!(quote("a\"\\\n\u{1}é"), "\"a\\\"\\\\\\n\\u0001é\"");
}

fn equal(ours: Value<'_>, theirs: &serde_json::Value) -> bool {
    match theirs {
        serde_json::Value::Null => ours.kind() == Kind::Null,
        serde_json::Value::Bool(truth) => ours.as_bool() == Some(*truth),
        serde_json::Value::Number(_) => ours.kind() == Kind::Number,
        serde_json::Value::String(text) => ours.is_str(text),
        serde_json::Value::Array(items) => {
            ours.elements().count() == items.len() && ours.elements().zip(items).all(|(a, b)| equal(a, b))
        }
        serde_json::Value::Object(members) => {
            ours.members().count() == members.len()
                && members.iter().all(|(key, b)| ours.get(key).is_some_and(|a| equal(a, b)))
        }
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_on_what_serde_writes(value in any_json()) {
        let text = serde_json::to_string(&value).unwrap();
        let document = Document::parse(text.as_bytes()).unwrap();
        prop_assert!(equal(document.root(), &value));
    }

    #[test]
    fn what_we_accept_serde_reads_alike(text in r#"[\[\]{}:,"\\ua-c0-9. eE+-]{0,40}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match (Document::parse(text.as_bytes()), theirs) {
            (Ok(document), Ok(value)) => prop_assert!(equal(document.root(), &value)),
            // serde_json reads numbers into f64 and refuses those out of range.
            (Ok(_), Err(why)) => prop_assert!(why.to_string().contains("out of range"), "`{text}`: {why}"),
            // Duplicates are all that serde takes and we refuse.
            (Err(why), Ok(_)) => prop_assert!(matches!(why, InvalidJson::Duplicate(_)), "`{text}`: {why}"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn quoting_round_trips(text in any::<String>()) {
        let quoted = quote(&text);
        let document = Document::parse(quoted.as_bytes()).unwrap();
        prop_assert!(document.root().is_str(&text));
    }
}

#[test]
fn marks_and_hashes_are_of_what_a_text_means() {
    for (text, names, hides) in [
        (r#""abc""#, false, false),
        (r#""a long text without either of them, over many words""#, false, false),
        (r#""a\"b\/c\n""#, false, false),
        (r#""P""#, true, false),
        (r#""1234567P""#, true, false),
        (r#""12345678P""#, true, false),
        (r#""100%""#, true, false),
        (r#""\u0050""#, true, true),
        (r#""\"\u0061""#, true, true),
        (r#""\\u0061""#, false, false),
        ("1", false, false),
    ] {
        for text in [text.to_owned(), format!("{text}                ")] {
            let document = Document::parse(text.as_bytes()).unwrap();
            assert_eq!((document.root().may_name(), document.root().may_hide()), (names, hides), "{text}");
        }
    }
    // What follows a text is not part of it.
    let document = Document::parse(br#"["abc","P%"]"#).unwrap();
    assert_eq!(document.root().elements().map(|value| value.may_name()).collect::<Vec<_>>(), [false, true]);
    let document = Document::parse(br#"{"\u0061bcdefgh":1,"abcdefgi":2,"":3}"#).unwrap();
    for (name, expected) in [("abcdefgh", Some("1")), ("abcdefgi", Some("2")), ("", Some("3")), ("abcdefg", None)] {
        assert_eq!(document.root().get(name).map(|value| value.raw()), expected, "{name}");
        let found = document.root().members().any(|(key, _)| key.hash() == name_hash(name.as_bytes()) && key.is(name));
        assert_eq!(found, expected.is_some(), "{name}");
    }
}
