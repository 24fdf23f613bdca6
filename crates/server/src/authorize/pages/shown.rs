//! Text from outside as people may see it: one line, nothing that hides, turns round or piles up.

use std::fmt;

/// Longest text on a page, in characters; a name that is longer is no name.
pub const SHOWN_CHARS_MAX: usize = 200;
/// Most combining marks on one letter; two is what the languages of patients need at most.
const MARKS_MAX: usize = 2;

/// A name or sentence from outside, made safe to read (not yet to embed: the template escapes it).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shown(String);

impl Shown {
    /// `text` without controls, direction marks, invisible and private characters; white space as one space; cut when long.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut out = String::new();
        let (mut chars, mut marks, mut gap) = (0, 0, false);
        for letter in text.chars() {
            if letter.is_whitespace() {
                gap = !out.is_empty();
                continue;
            }
            if letter.is_control() || hidden(letter) {
                continue;
            }
            marks = if combining(letter) { marks + 1 } else { 0 };
            if marks > MARKS_MAX || (marks > 0 && out.is_empty()) {
                continue;
            }
            if chars >= SHOWN_CHARS_MAX {
                out.push('…');
                break;
            }
            if std::mem::take(&mut gap) {
                out.push(' ');
                chars += 1;
            }
            out.push(letter);
            chars += 1;
        }
        Self(out)
    }

    /// The same, or `instead` when nothing is left: no page shows a gap where a name belongs.
    #[must_use]
    pub fn or(text: &str, instead: &str) -> Self {
        let shown = Self::new(text);
        if shown.is_empty() { Self(instead.to_owned()) } else { shown }
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Shown {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters that show nothing or change how others show: format, private use, noncharacters, fillers, variation selectors.
fn hidden(letter: char) -> bool {
    matches!(u32::from(letter),
        0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xE000..=0xF8FF | 0xFDD0..=0xFDEF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0
        | 0xFFF0..=0xFFFB | 0xFFFE | 0xFFFF | 0x1D173..=0x1D17A | 0xE0000..=0x10_FFFF)
}

/// Blocks of combining marks, which can bury the line above.
fn combining(letter: char) -> bool {
    matches!(u32::from(letter), 0x300..=0x36F | 0x483..=0x489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF | 0xFE20..=0xFE2F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_made_readable() {
        for (text, shown) in [
            ("  Sepsis \t\n Watch ", "Sepsis Watch"),
            ("Good\u{202E}live\u{202C} app\u{2066}", "Goodlive app"),
            ("A\u{0}B\u{7}C\u{85}D", "ABC D"),
            ("pay\u{200B}pal\u{FEFF}\u{AD}\u{E0041}", "paypal"),
            ("Zoë Müller-Ōno 王", "Zoë Müller-Ōno 王"),
            ("e\u{301}\u{302}\u{303}\u{304}x", "e\u{301}\u{302}x"),
            ("\u{301}a", "a"),
            ("\u{2800}\u{3164}\u{202E}", ""),
            ("line\u{2028}two", "line two"),
        ] {
            assert_eq!(Shown::new(text).to_string(), shown, "{text:?}");
        }
        let long = Shown::new(&"a ".repeat(1000)).to_string();
        assert!(long.chars().count() <= SHOWN_CHARS_MAX + 2 && long.ends_with('…'), "{long}");
        assert_eq!(Shown::or("\u{202E}", "an application without a name").to_string(), "an application without a name");
    }
}
