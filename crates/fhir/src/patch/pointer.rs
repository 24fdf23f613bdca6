//! JSON Pointers (RFC 6901).

use crate::json::Value;

/// A parsed pointer: its tokens, unescaped. Without any it is the whole document.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// RFC 6901 §3 and §4: every token follows a `/`, and `~` is the start of `~0` or `~1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        text.strip_prefix('/')?.split('/').map(unescape).collect::<Option<_>>().map(Self)
    }

    /// The tokens above the last, and the last.
    pub(super) fn split(&self) -> Option<(&[String], &str)> {
        self.0.split_last().map(|(last, above)| (above, last.as_str()))
    }

    /// Whether `other` lies below this place.
    pub(super) fn holds(&self, other: &Self) -> bool {
        self.0.len() < other.0.len() && other.0.starts_with(&self.0)
    }

    /// The value it points to.
    pub(super) fn find<'d>(&self, root: Value<'d>) -> Option<Value<'d>> {
        find(root, &self.0)
    }
}

/// The value at `tokens` below `root`.
pub(super) fn find<'d>(root: Value<'d>, tokens: &[String]) -> Option<Value<'d>> {
    tokens.iter().try_fold(
        root,
        |value, token| {
            if value.is_array() { value.elements().nth(index(token)?) } else { value.get(token) }
        },
    )
}

/// RFC 6901 §4: digits without leading zeros. An index past nine digits is past every array.
pub(super) fn index(token: &str) -> Option<usize> {
    let digits = token.len() <= 9 && token.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (token.starts_with('0') && token != "0") {
        return None;
    }
    token.parse().ok()
}

fn unescape(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

#[test]
fn patch_pointers_are_rfc_6901() {
    let tokens = |text: &str| Pointer::parse(text).map(|pointer| pointer.0);
    for (text, wanted) in [
        ("", Some(vec![])),
        ("/", Some(vec![""])),
        ("/a//b", Some(vec!["a", "", "b"])),
        ("/a~1b/m~0n/~01", Some(vec!["a/b", "m~n", "~1"])),
        ("a", None),
        ("/~", None),
        ("/~2", None),
        ("/a~/b", None),
        ("#/a", None),
    ] {
        assert_eq!(tokens(text), wanted.map(|list| list.into_iter().map(str::to_owned).collect()), "`{text}`");
    }
    for (text, wanted) in
        [("0", Some(0)), ("10", Some(10)), ("00", None), ("01", None), ("-", None), ("+1", None), ("", None)]
    {
        assert_eq!(index(text), wanted, "`{text}`");
    }
    assert_eq!(index("9999999999"), None);
}
