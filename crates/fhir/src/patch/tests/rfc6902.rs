//! JSON Patch: the examples of RFC 6902 appendix A by what they show, and every position a comma can have.

use super::*;
use proptest::prelude::*;
use serde_json::{Value as Tree, json};

fn patched(patch: &str, resource: &str) -> Result<String, PatchError> {
    apply(Patch::parse_json(patch.as_bytes()), resource)
}

fn check(cases: &[(&str, &str, Result<&str, PatchError>)]) {
    for (resource, patch, wanted) in cases {
        assert_eq!(patched(patch, resource), wanted.map(str::to_owned), "{resource} {patch}");
    }
}

#[test]
fn json_patch_does_what_appendix_a_shows() {
    use PatchError::{NoTarget, TestFailed};
    check(&[
        // A.1 a member, A.2 an element.
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":2}]"#, Ok(r#"{"a":1,"b":2}"#)),
        (r#"{"a":[1,3]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, Ok(r#"{"a":[1,2,3]}"#)),
        // A.3, A.4 removals.
        (r#"{"a":1,"b":2}"#, r#"[{"op":"remove","path":"/b"}]"#, Ok(r#"{"a":1}"#)),
        (r#"{"a":[1,2,3]}"#, r#"[{"op":"remove","path":"/a/1"}]"#, Ok(r#"{"a":[1,3]}"#)),
        // A.5 replacement.
        (r#"{"a":1,"b":2}"#, r#"[{"op":"replace","path":"/a","value":3}]"#, Ok(r#"{"a":3,"b":2}"#)),
        // A.6, A.7 moves.
        (
            r#"{"a":{"x":1,"y":2},"b":{"z":3}}"#,
            r#"[{"op":"move","from":"/a/y","path":"/b/w"}]"#,
            Ok(r#"{"a":{"x":1},"b":{"z":3,"w":2}}"#),
        ),
        (r#"{"a":[1,2,3,4]}"#, r#"[{"op":"move","from":"/a/1","path":"/a/3"}]"#, Ok(r#"{"a":[1,3,4,2]}"#)),
        // A.8, A.9 tests.
        (
            r#"{"a":"b","c":["d",2,"e"]}"#,
            r#"[{"op":"test","path":"/a","value":"b"},{"op":"test","path":"/c/1","value":2}]"#,
            Ok(r#"{"a":"b","c":["d",2,"e"]}"#),
        ),
        (r#"{"a":"b"}"#, r#"[{"op":"test","path":"/a","value":"c"}]"#, Err(TestFailed)),
        // A.10 a nested member, A.11 members that no operation has.
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":{"c":{}}}]"#, Ok(r#"{"a":1,"b":{"c":{}}}"#)),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":2,"xyz":3}]"#, Ok(r#"{"a":1,"b":2}"#)),
        // A.12 nothing to add to.
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b/c","value":2}]"#, Err(NoTarget)),
        // A.14 `~` in a name, A.15 strings are no numbers, A.16 the end of an array.
        (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#, Ok(r#"{"/":9,"~1":10}"#)),
        (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":"10"}]"#, Err(TestFailed)),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-","value":[2,3]}]"#, Ok(r#"{"a":[1,[2,3]]}"#)),
    ]);
    // A.13: one member twice.
    let twice = Patch::parse_json(br#"[{"op":"add","path":"/b","value":1,"op":"remove"}]"#);
    assert!(matches!(twice, Err(InvalidPatch::Malformed(_))));
}

#[test]
fn json_patch_keeps_all_it_does_not_name() {
    use PatchError::{Invalid, NoTarget};
    check(&[
        ("{ }", r#"[{"op":"add","path":"/a","value":1.10}]"#, Ok(r#"{"a":1.10 }"#)),
        (r#"{"a":[ ]}"#, r#"[{"op":"add","path":"/a/0","value":1}]"#, Ok(r#"{"a":[1 ]}"#)),
        (r#"{"a":[]}"#, r#"[{"op":"add","path":"/a/-","value":1}]"#, Ok(r#"{"a":[1]}"#)),
        (r#"{"a":[1 , 2]}"#, r#"[{"op":"add","path":"/a/0","value":0}]"#, Ok(r#"{"a":[0,1 , 2]}"#)),
        (r#"{"a":[1 , 2 ]}"#, r#"[{"op":"add","path":"/a/2","value":3}]"#, Ok(r#"{"a":[1 , 2,3 ]}"#)),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/2","value":3}]"#, Err(NoTarget)),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/01","value":3}]"#, Err(NoTarget)),
        (r#"{"a":[1]}"#, r#"[{"op":"replace","path":"/a/-","value":3}]"#, Err(NoTarget)),
        // An existing member is replaced where it stands, whatever it holds.
        (r#"{"a":1.10,"b":1e2}"#, r#"[{"op":"add","path":"/a","value":2.50}]"#, Ok(r#"{"a":2.50,"b":1e2}"#)),
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b","value":2}]"#, Err(NoTarget)),
        (r#"{"a":1}"#, r#"[{"op":"remove","path":"/b"}]"#, Err(NoTarget)),
        (r#"{ "a" : 1 , "b" : 2 }"#, r#"[{"op":"remove","path":"/a"}]"#, Ok(r#"{ "b" : 2 }"#)),
        (r#"{ "a" : 1 , "b" : 2 }"#, r#"[{"op":"remove","path":"/b"}]"#, Ok(r#"{ "a" : 1 }"#)),
        (r#"{ "a" : 1 }"#, r#"[{"op":"remove","path":"/a"}]"#, Ok("{  }")),
        (r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/0"}]"#, Ok(r#"{"a":[]}"#)),
        // Names are compared after unescaping, and written as JSON.
        (r#"{"\u0061":1}"#, r#"[{"op":"replace","path":"/a","value":2}]"#, Ok(r#"{"\u0061":2}"#)),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/\u0061","value":2}]"#, Ok(r#"{"a":2}"#)),
        (r#"{"a/b":1}"#, r#"[{"op":"copy","from":"/a~1b","path":"/\"~0"}]"#, Ok(r#"{"a/b":1,"\"~":1}"#)),
        (r#"{"":{"":1}}"#, r#"[{"op":"replace","path":"//","value":2}]"#, Ok(r#"{"":{"":2}}"#)),
        // The whole document.
        (r#" {"a":1} "#, r#"[{"op":"replace","path":"","value":{"b":2}}]"#, Ok(r#" {"b":2} "#)),
        (r#"{"a":{"b":2}}"#, r#"[{"op":"move","from":"/a","path":""}]"#, Ok(r#"{"b":2}"#)),
        (r#"{"a":1}"#, r#"[{"op":"copy","from":"","path":"/b"}]"#, Ok(r#"{"a":1,"b":{"a":1}}"#)),
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":[]}]"#, Err(Invalid)),
        (r#"{"a":1}"#, r#"[{"op":"remove","path":""}]"#, Err(Invalid)),
        // A move to its own place, with a place and without.
        (r#"{"a":1,"b":2}"#, r#"[{"op":"move","from":"/a","path":"/a"}]"#, Ok(r#"{"a":1,"b":2}"#)),
        (r#"{"a":1}"#, r#"[{"op":"move","from":"/b","path":"/b"}]"#, Err(NoTarget)),
        // All or none.
        (r#"{"a":1}"#, r#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]"#, Err(NoTarget)),
        // Equality.
        (
            r#"{"a":{"x":1.0,"y":["\u00e9"]}}"#,
            r#"[{"op":"test","path":"/a","value":{"y":["é"],"x":1.00}}]"#,
            Ok(r#"{"a":{"x":1.0,"y":["\u00e9"]}}"#),
        ),
        (r#"{"a":[1,2]}"#, r#"[{"op":"test","path":"/a","value":[2,1]}]"#, Err(PatchError::TestFailed)),
        (r#"{"a":{"x":1}}"#, r#"[{"op":"test","path":"/a","value":{"x":1,"y":2}}]"#, Err(PatchError::TestFailed)),
        (r#"{"a":null}"#, r#"[{"op":"test","path":"/a","value":null}]"#, Ok(r#"{"a":null}"#)),
        // What is no strict JSON object is no resource.
        ("[]", "[]", Err(Invalid)),
        (r#"{"a":1,"a":2}"#, "[]", Err(Invalid)),
        (r#"{"a":1}"#, "[]", Ok(r#"{"a":1}"#)),
    ]);
}

#[test]
fn json_patch_is_read_strictly() {
    for text in [
        "",
        "{}",
        "[1]",
        r#"[{"path":"/a","value":1}]"#,
        r#"[{"op":"add","value":1}]"#,
        r#"[{"op":"add","path":"/a"}]"#,
        r#"[{"op":"replace","path":"/a"}]"#,
        r#"[{"op":"test","path":"/a"}]"#,
        r#"[{"op":"move","path":"/a"}]"#,
        r#"[{"op":"copy","path":"/a"}]"#,
        r#"[{"op":"copy","path":"/a","from":1}]"#,
        r#"[{"op":1,"path":"/a"}]"#,
        r#"[{"op":"remove","path":1}]"#,
        r#"[{"op":"Remove","path":"/a"}]"#,
        r#"[{"op":"remove","path":"a"}]"#,
        r#"[{"op":"remove","path":"/~2"}]"#,
        r#"[{"op":"move","from":"/a","path":"/a/b"}]"#,
        r#"[{"op":"move","from":"","path":"/b"}]"#,
    ] {
        assert!(matches!(Patch::parse_json(text.as_bytes()), Err(InvalidPatch::Malformed(_))), "{text}");
    }
    // A name that only starts alike is another place.
    assert!(Patch::parse_json(br#"[{"op":"move","from":"/a","path":"/ab"}]"#).is_ok());
}

/// RFC 6902 over a tree, as plainly as it can be said.
fn naive(operation: &Tree, root: &mut Tree) -> Option<()> {
    let path = operation["path"].as_str()?;
    match operation["op"].as_str()? {
        "add" => put(root, path, operation["value"].clone()),
        "remove" => take(root, path).map(drop),
        "replace" => {
            *root.pointer_mut(path)? = operation["value"].clone();
            Some(())
        }
        "move" => {
            let from = operation["from"].as_str()?;
            if from == path {
                return root.pointer(from).map(drop);
            }
            let value = take(root, from)?;
            root.is_object().then_some(())?;
            put(root, path, value)
        }
        "copy" => {
            let value = root.pointer(operation["from"].as_str()?)?.clone();
            put(root, path, value)
        }
        "test" => (root.pointer(path)? == &operation["value"]).then_some(()),
        _ => None,
    }
}

fn ends(path: &str) -> Option<(&str, String)> {
    path.rsplit_once('/').map(|(above, last)| (above, last.replace("~1", "/").replace("~0", "~")))
}

fn put(root: &mut Tree, path: &str, value: Tree) -> Option<()> {
    let Some((above, last)) = ends(path) else {
        *root = value;
        return Some(());
    };
    match root.pointer_mut(above)? {
        Tree::Object(members) => drop(members.insert(last, value)),
        Tree::Array(items) => {
            let at = if last == "-" { items.len() } else { last.parse().ok()? };
            (at <= items.len()).then(|| items.insert(at, value))?;
        }
        _ => return None,
    }
    Some(())
}

fn take(root: &mut Tree, path: &str) -> Option<Tree> {
    let (above, last) = ends(path)?;
    match root.pointer_mut(above)? {
        Tree::Object(members) => members.remove(&last),
        Tree::Array(items) => {
            let at: usize = last.parse().ok()?;
            (at < items.len()).then(|| items.remove(at))
        }
        _ => None,
    }
}

const NAMES: [&str; 6] = ["a", "b", "a/b", "m~n", "", "\"\\\n"];

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![Just(Tree::Null), (0..3i32).prop_map(Tree::from), "[a\"é]{0,2}".prop_map(Tree::from)];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Tree::from),
            members(inner).prop_map(Tree::Object),
        ]
    })
}

fn members(inner: impl Strategy<Value = Tree>) -> impl Strategy<Value = serde_json::Map<String, Tree>> {
    let name = proptest::sample::select(NAMES.as_slice()).prop_map(str::to_owned);
    proptest::collection::btree_map(name, inner, 0..5).prop_map(|map| map.into_iter().collect())
}

fn any_pointer() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(["a", "b", "a~1b", "m~0n", "", "\"\\\n", "0", "1", "2", "-"].as_slice());
    proptest::collection::vec(name, 0..4).prop_map(|names| names.iter().map(|name| format!("/{name}")).collect())
}

/// Mostly places that are there: pointers drawn at random seldom lead anywhere.
fn operations() -> impl Strategy<Value = Tree> {
    let op = proptest::sample::select(["add", "remove", "replace", "move", "copy", "test", "add"].as_slice());
    (op, any_pointer(), any_pointer(), any_tree())
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn json_patch_agrees_with_a_naive_application(
        before in any_tree().prop_flat_map(|a| members(any_tree()).prop_map(move |mut all| {
            all.insert("a".to_owned(), a.clone());
            Tree::Object(all)
        })),
        list in proptest::collection::vec(operations(), 1..4),
        pretty in any::<bool>(),
    ) {
        let mut wanted = Some(before.clone());
        for operation in &list {
            wanted = wanted.and_then(|mut tree| {
                naive(operation, &mut tree)?;
                tree.is_object().then_some(tree)
            });
        }
        let text = if pretty { serde_json::to_string_pretty(&before) } else { serde_json::to_string(&before) }.unwrap();
        let patch = Patch::parse_json(Tree::from(list).to_string().as_bytes());
        if let Err(why) = &patch {
            prop_assert_eq!(why.what(), "a value is moved into itself");
            return Ok(());
        }
        let got = patch.unwrap().apply(ResourceType::PATIENT, &text).ok();
        prop_assert_eq!(got.map(|text| serde_json::from_str::<Tree>(&text).unwrap()), wanted);
    }

    #[test]
    fn patches_of_random_bytes_are_refused_and_no_more(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(Patch::parse_json(&bytes).is_err());
        prop_assert!(Patch::parse_fhirpath(&bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        let patch = Patch::parse_json(br#"[{"op":"add","path":"/a","value":1}]"#).unwrap();
        let _ = patch.apply(ResourceType::PATIENT, &text);
    }
}
