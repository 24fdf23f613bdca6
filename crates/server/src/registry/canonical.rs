//! JSON text that is hashed or compared: members in the order of their names.
//!
//! `serde_json` keeps members in the order of their names, or in that of their insertion if anything in the whole program
//! asks it to (`cedar-policy` does); text that must be the same in every build is written here.

use serde_json::Value;

/// `value` as text without white space, the members of each object in the order of their names' bytes.
pub(crate) fn text(value: Value) -> String {
    ordered(value).to_string()
}

fn ordered(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(members.into_iter().map(|(name, value)| (name, ordered(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(ordered).collect()),
        other => other,
    }
}

#[test]
fn members_have_one_order() {
    let unordered = r#"{"b":[{"d":1,"c":null}],"a":{"é":2,"z":"x","B":true}}"#;
    let ordered = r#"{"a":{"B":true,"z":"x","é":2},"b":[{"c":null,"d":1}]}"#;
    for given in [unordered, ordered] {
        assert_eq!(text(serde_json::from_str(given).unwrap()), ordered);
    }
}
