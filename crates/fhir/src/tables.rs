//! Reading the tables of `tables/`: rows of text columns, compiled in. They are leaked once and live as long as the
//! process, so that look-ups hand out `'static` slices and never allocate.

use crate::ResourceType;

/// How many R4 types there are: the length of every table indexed by type.
pub(crate) fn type_count() -> usize {
    ResourceType::all().count()
}

/// The rows of a table, comments left out. A missing column reads as empty.
pub(crate) fn rows(text: &'static str) -> impl Iterator<Item = [&'static str; 5]> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
        let mut columns = line.split('\t');
        std::array::from_fn(|_| columns.next().unwrap_or_default())
    })
}

/// Words of a column; `-` is none.
pub(crate) fn words(column: &'static str) -> &'static [&'static str] {
    let words: Vec<&'static str> = column.split(' ').filter(|word| *word != "-").collect();
    words.leak()
}
