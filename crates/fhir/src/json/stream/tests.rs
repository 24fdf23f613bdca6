//! The reader against `Document::parse` of the whole: the same texts, the same entries, in any chunks.

use super::*;
use crate::json::Kind;
use proptest::prelude::*;

/// What a whole reading gives: the head's text, and each entry's text with its range.
type Read = (Head, Vec<(String, Range<u64>)>);

fn read_in(text: &[u8], cuts: &[usize]) -> Result<Read, StreamError> {
    let mut entries = Vec::new();
    let mut reader = BundleReader::new();
    let mut at = 0;
    let mut first = Ok(());
    for cut in cuts.iter().copied().chain([text.len()]) {
        let cut = cut.clamp(at, text.len());
        let pushed = reader.push(&text[at..cut], &mut |entry| {
            assert_eq!(entry.document.root().raw(), entry.document.text(), "no space around an entry");
            entries.push((entry.document.text().to_owned(), entry.range));
        });
        first = first.and(pushed);
        // An error is for ever.
        assert_eq!(pushed, first);
        at = cut;
    }
    let finished = reader.finish();
    if let Err(why) = first {
        assert_eq!(finished.as_ref().err(), Some(&why));
    }
    finished.map(|head| (head, entries))
}

fn read(text: &str) -> Result<Read, StreamError> {
    read_in(text.as_bytes(), &[])
}

/// The reader agrees with the document of the whole text, which stays far below the reader's own limits.
fn agree(text: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
    let streamed = read_in(text, cuts);
    let starts_object =
        text.iter().find(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).is_none_or(|byte| *byte == b'{');
    let shown = String::from_utf8_lossy(text);
    match Document::parse(text) {
        Err(why) => match streamed {
            Err(StreamError::Invalid(_)) if starts_object => {}
            Err(StreamError::NotObject(_)) if !starts_object => {}
            other => prop_assert!(false, "`{shown}`: {why}, but {other:?}"),
        },
        Ok(document) if !starts_object => {
            prop_assert!(!document.root().is_object());
            prop_assert!(matches!(streamed, Err(StreamError::NotObject(_))), "`{shown}`");
        }
        Ok(document) => {
            let (head, entries) = match streamed {
                Ok(read) => read,
                Err(why) => return Err(TestCaseError::fail(format!("`{shown}` is JSON: {why}"))),
            };
            let list = document.root().get("entry").filter(crate::json::Value::is_array);
            let expected: Vec<_> =
                list.iter().flat_map(crate::json::Value::elements).map(|entry| entry.span()).collect();
            prop_assert_eq!(head.entries(), list.map(|_| expected.len() as u64), "`{}`", shown);
            let found: Vec<_> = entries.iter().map(|(_, range)| range.start as usize..range.end as usize).collect();
            prop_assert_eq!(&found, &expected, "`{}`", shown);
            for (text_of, range) in &entries {
                prop_assert_eq!(text_of.as_bytes(), &text[range.start as usize..range.end as usize]);
            }
            let head = Document::parse(head.bytes()).unwrap();
            let members = |document: &Document<'_>, all: bool| -> Vec<(String, String)> {
                let members = document.root().members();
                let kept = members.filter(|(key, value)| all || !key.is("entry") || value.kind() != Kind::Array);
                kept.map(|(key, value)| (key.text().into_owned(), value.raw().to_owned())).collect()
            };
            prop_assert_eq!(members(&head, true), members(&document, false), "`{}`", shown);
        }
    }
    Ok(())
}

#[test]
fn a_bundle_is_taken_apart() {
    let text = concat!(
        r#" {"resourceType" : "Bundle", "\u0065ntry": [ {"a":"]}\"\\"} , 1,"x" , [2, {}], null ],"#,
        r#" "total": 1e2 ,"link":[{"url":"é"}] } "#
    );
    for step in 1..text.len() {
        let cuts: Vec<_> = (1..).map(|n| n * step).take_while(|cut| *cut < text.len()).collect();
        let (head, entries) = read_in(text.as_bytes(), &cuts).unwrap();
        assert_eq!(head.bytes(), r#"{"resourceType":"Bundle","total":1e2,"link":[{"url":"é"}]}"#.as_bytes());
        assert_eq!(head.entries(), Some(5));
        let texts: Vec<_> = entries.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, [r#"{"a":"]}\"\\"}"#, "1", "\"x\"", "[2, {}]", "null"]);
        for (entry, range) in &entries {
            assert_eq!(text.get(range.start as usize..range.end as usize), Some(entry.as_str()));
        }
    }
}

#[test]
fn without_an_entry_array_the_head_is_the_whole() {
    for (text, head) in [
        ("{}", "{}"),
        (r#"{ "a" : 1 }"#, r#"{"a":1}"#),
        (r#"{"entry":{"entry":[1]}}"#, r#"{"entry":{"entry":[1]}}"#),
        (r#"{"a":{"entry":[1]},"\u0065ntry":null}"#, r#"{"a":{"entry":[1]},"entry":null}"#),
    ] {
        let (read, entries) = read(text).unwrap();
        assert_eq!((read.bytes(), read.entries()), (head.as_bytes(), None), "`{text}`");
        assert!(entries.is_empty());
    }
    let (head, _) = read(r#"{"entry":[]}"#).unwrap();
    assert_eq!((head.bytes(), head.entries()), (b"{}".as_slice(), Some(0)));
}

#[test]
fn what_is_wrong_anywhere_refuses_the_whole() {
    for text in [
        "",
        " ",
        "{",
        "{} {}",
        "{}x",
        "{,}",
        r#"{"a":1,}"#,
        r#"{"entry":[],}"#,
        r#"{"a":1,,"b":2}"#,
        r#"{"entry"}"#,
        r#"{"entry":}"#,
        r#"{"entry":["#,
        r#"{"entry":[1"#,
        r#"{"entry":[1]"#,
        r#"{"entry":[1,]}"#,
        r#"{"entry":[,1]}"#,
        r#"{"entry":[1 2]}"#,
        r#"{"entry":[1}"#,
        r#"{"entry":[1]]}"#,
        r#"{"entry":[{"a":[}]}]}"#,
        r#"{"entry":[{]]}"#,
        r#"{"entry":[{"a":1,"\u0061":2}]}"#,
        r#"{"entry":["\ud800"]}"#,
        r#"{"entry":[01]}"#,
        r#"{"entry":[1]"a":1}"#,
        r#"{"entry":[1],"a":1,"\u0061":2}"#,
        r#"{"entry":[1],"\u0065ntry":[]}"#,
        r#"{"entry":[1],"entry":1}"#,
        r#"{"entry":1,"entry":[1]}"#,
        r#"{"a":1:2}"#,
        r#"{"a":1"b":2}"#,
        r#"{"a":1 2}"#,
        "{\"entry\":[\"\n\"]}",
        "{\"\u{0}\":1}",
    ] {
        assert!(matches!(read(text), Err(StreamError::Invalid(_))), "`{text}`");
        assert!(Document::parse(text.as_bytes()).is_err(), "`{text}`");
    }
    for text in ["[]", "1", "\u{feff}{}", "x"] {
        assert!(matches!(read(text), Err(StreamError::NotObject(0))), "`{text}`");
    }
    assert!(matches!(read_in(b"{\"entry\":[\"\xff\"]}", &[]), Err(StreamError::Invalid(InvalidJson::Encoding(11)))));
}

#[test]
fn depth_and_members_are_those_of_the_whole() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    for n in 60..66 {
        for text in [format!(r#"{{"entry":[{}]}}"#, deep(n)), format!(r#"{{"a":{}}}"#, deep(n))] {
            let whole = Document::parse(text.as_bytes()).is_ok();
            assert_eq!(read(&text).is_ok(), whole, "`{text}`");
            assert_eq!(read_in(text.as_bytes(), &[12, 30, 70]).is_ok(), whole, "`{text}`");
        }
    }
    for n in [MEMBERS_MAX - 1, MEMBERS_MAX] {
        let members: Vec<_> = (0..n).map(|n| format!("\"k{n}\":0")).collect();
        let text = format!("{{{},\"entry\":[]}}", members.join(","));
        assert_eq!(read(&text).is_ok(), n < MEMBERS_MAX);
        assert_eq!(Document::parse(text.as_bytes()).is_ok(), n < MEMBERS_MAX);
    }
    assert!(matches!(read(&format!("{{\"entry\":[{}", "[".repeat(1 << 20))), Err(StreamError::Invalid(_))));
}

#[test]
fn its_own_limits_hold() {
    let entry = |length: usize| format!(r#"{{"entry":["{}"]}}"#, "x".repeat(length - 2));
    assert!(read(&entry(ENTRY_BYTES_MAX)).is_ok());
    assert!(matches!(read(&entry(ENTRY_BYTES_MAX + 1)), Err(StreamError::Limit(_))));
    let dense = |nodes: usize| format!(r#"{{"entry":[[0{}]]}}"#, ",0".repeat(nodes - 2));
    assert!(read(&dense(ENTRY_NODES_MAX)).is_ok());
    assert!(matches!(read(&dense(ENTRY_NODES_MAX + 1)), Err(StreamError::Limit(_))));
    // One large resource: known by this error before its end, and read whole instead.
    let head = |length: usize| format!(r#"{{"data":"{}","entry":[]}}"#, "x".repeat(length));
    assert!(read(&head(HEAD_BYTES_MAX - 100)).is_ok());
    assert!(matches!(read(&head(HEAD_BYTES_MAX)), Err(StreamError::Limit(_))));
    let many = |n: u64| format!(r#"{{"entry":[0{}]}}"#, ",0".repeat(usize::try_from(n).unwrap() - 1));
    assert_eq!(read(&many(ENTRIES_MAX)).unwrap().0.entries(), Some(ENTRIES_MAX));
    assert!(matches!(read(&many(ENTRIES_MAX + 1)), Err(StreamError::Limit(_))));
}

#[test]
fn debug_shows_nothing() {
    let text = r#"{"entry":[{"name":"Canary"}],"id":"Canary"}"#;
    let mut reader = BundleReader::new();
    let mut shown = String::new();
    reader.push(text.as_bytes(), &mut |entry| shown += &format!("{entry:?}")).unwrap();
    shown += &format!("{reader:?}");
    shown += &format!("{:?}", reader.finish());
    assert!(!shown.contains("Canary"), "{shown}");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        prop_oneof![3 => "[a-c]{0,2}", 1 => any::<String>()].prop_map(Into::into),
    ];
    let key = prop_oneof!["entry", "resource", "[a-c]{0,2}", any::<String>()];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A Bundle as text: members before and after `entry`, compact or with white space.
fn any_bundle() -> impl Strategy<Value = Vec<u8>> {
    let members = || proptest::collection::vec((member_name(), any_json()), 0..3);
    fn member_name() -> impl Strategy<Value = String> {
        prop_oneof![8 => "[a-d]{1,2}", 4 => any::<String>(), 1 => Just("entry".to_owned())]
    }
    let entries = prop_oneof![
        4 => proptest::collection::vec(any_json(), 0..6).prop_map(|list| Some(serde_json::Value::from(list))),
        1 => any_json().prop_map(Some),
        1 => Just(None),
    ];
    (members(), entries, members(), any::<bool>()).prop_map(|(before, entries, after, is_wide)| {
        let quote = |text: &str| serde_json::to_string(text).unwrap();
        let write = |value: &serde_json::Value| {
            if is_wide { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() }
        };
        let entries = entries.map(|value| ("entry".to_owned(), value));
        let members: Vec<_> = before
            .iter()
            .chain(&entries)
            .chain(&after)
            .map(|(key, value)| format!("{}{}{}", quote(key), if is_wide { " : " } else { ":" }, write(value)))
            .collect();
        format!("{{{}}}", members.join(if is_wide { " ,\n" } else { "," })).into_bytes()
    })
}

/// A place in `text`, most often right before or behind a mark of the grammar, where a change means most.
fn place(text: &[u8], index: prop::sample::Index) -> usize {
    let marks = text.iter().enumerate().filter(|(_, byte)| b"{}[],:\"".contains(byte));
    let mut places: Vec<_> = marks.flat_map(|(at, _)| [at, at + 1]).collect();
    places.extend([0, index.index(text.len() + 1), text.len()]);
    *index.get(&places)
}

/// One change: bytes at a place are replaced by something that matters to the grammar, or by a copy of other bytes.
#[derive(Clone, Debug)]
enum Change {
    Put(prop::sample::Index, usize, &'static [u8]),
    Copy(prop::sample::Index, prop::sample::Index, usize),
    Cut(prop::sample::Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    let texts: Vec<&'static [u8]> = vec![
        b"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\",
        b" ",
        b"\n",
        b"0",
        b"-",
        b"e",
        b"\0",
        b"\x1f",
        b"\xff",
        b"\xc3",
        b"\xa9",
        b"\xed\xa0\x80",
        b"\\u0022",
        b"\\ud800",
        b"\"entry\"",
        b"\"\\u0065ntry\"",
        b",\"entry\":[]",
        b"],\"a\":[",
        b"},{",
        b"null",
    ];
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), 0_usize..2, prop::sample::select(texts)).prop_map(|(at, gone, put)| Change::Put(at, gone, put)),
        2 => (at(), at(), 1_usize..20).prop_map(|(from, to, length)| Change::Copy(from, to, length)),
        1 => at().prop_map(Change::Cut),
    ]
}

fn change(text: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Put(at, gone, put) => {
            let at = place(text, *at);
            let end = (at + gone).min(text.len());
            text.splice(at..end, put.iter().copied());
        }
        Change::Copy(from, to, length) => {
            let from = place(text, *from);
            let copied = text[from..(from + length).min(text.len())].to_vec();
            let to = place(text, *to);
            text.splice(to..to, copied);
        }
        Change::Cut(at) => text.truncate(at.index(text.len() + 1)),
    }
}

fn any_cuts() -> impl Strategy<Value = Vec<usize>> {
    let sparse = proptest::collection::vec(0_usize..400, 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    });
    prop_oneof![2 => sparse, 1 => Just((1..2_000).collect()), 1 => Just(Vec::new())]
}

/// Texts made of the pieces of the grammar, so that many are nearly a Bundle.
fn any_pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "\"entry\":[",
        "\"\\u0065ntry\":[",
        "\"entry\":",
        "\"a\":",
        "\"b\":",
        "\"a\"",
        ":",
        ",",
        ",",
        "{",
        "}",
        "[",
        "]",
        "],",
        "1",
        "-0.5e1,",
        "true",
        "nul",
        " ",
        "\"x]\"",
        "\"\\\"}\"",
        "{}",
        "{},",
        "[]",
    ]);
    proptest::collection::vec(piece, 0..9).prop_map(|pieces| format!("{{{}}}", pieces.concat()).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_the_document_on_bundles(text in any_bundle(), cuts in any_cuts()) {
        agree(&text, &cuts)?;
    }

    #[test]
    fn agrees_with_the_document_on_broken_bundles(
        mut text in any_bundle(),
        changes in proptest::collection::vec(any_change(), 1..4),
        cuts in any_cuts(),
    ) {
        for one in &changes {
            change(&mut text, one);
        }
        agree(&text, &cuts)?;
    }

    #[test]
    fn agrees_with_the_document_on_pieces(text in any_pieces(), cuts in any_cuts()) {
        agree(&text, &cuts)?;
    }

    // The second pass reads ranges, not the whole: each is its entry and parses alone.
    #[test]
    fn ranges_find_the_entries_again(text in any_bundle(), cuts in any_cuts()) {
        if let Ok((_, entries)) = read_in(&text, &cuts) {
            for (entry, range) in entries {
                let again = &text[range.start as usize..range.end as usize];
                prop_assert_eq!(Document::parse(again).unwrap().text(), entry);
            }
        }
    }
}
