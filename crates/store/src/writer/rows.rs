//! One statement over many rows. The rows are padded with NULLs to a few sizes, so that a group takes one round trip
//! per statement and each connection prepares a bounded number of texts.

use std::sync::{Arc, OnceLock};

use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::engine::{Bind, Row, Tx};

/// Numbers of rows a text is made for; the last is the largest group. Eight sizes of eight statements fit the hundred
/// prepared statements that a connection keeps.
const SIZES: [usize; 8] = [1, 4, 8, 16, 32, 64, 128, 256];

/// A statement over rows of `N` columns, `column1` never null: `@` stands for the rows of its one `VALUES`, where a row
/// whose `column1` is NULL must be without effect; a `?` before it for a value that all rows share.
pub(super) struct Many<const N: usize> {
    template: &'static str,
    sqlite: [OnceLock<Arc<str>>; SIZES.len()],
    postgres: [OnceLock<Arc<str>>; SIZES.len()],
}

macro_rules! bound {
    ($text:expr, $binds:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone($text)));
        for bind in $binds {
            query = match bind {
                Bind::Text(value) => query.bind(value),
                Bind::MaybeText(value) => query.bind(value),
                Bind::Int(value) => query.bind(value),
                Bind::MaybeInt(value) => query.bind(value),
                Bind::Blob(value) => query.bind(value),
                Bind::MaybeBlob(value) => query.bind(value),
            };
        }
        query
    }};
}

impl<const N: usize> Many<N> {
    pub(super) const fn new(template: &'static str) -> Self {
        Self {
            template,
            sqlite: [const { OnceLock::new() }; SIZES.len()],
            postgres: [const { OnceLock::new() }; SIZES.len()],
        }
    }

    /// What the statement returns for these rows; none, when there are none.
    pub(super) async fn rows(
        &self,
        tx: &mut Tx,
        shared: Option<i64>,
        rows: &[[Bind<'_>; N]],
    ) -> Result<Vec<Row>, StoreError> {
        let mut all = Vec::new();
        for part in rows.chunks(SIZES.last().copied().unwrap_or(1)) {
            let Some((at, size)) = SIZES.into_iter().enumerate().find(|(_, size)| *size >= part.len()) else {
                continue;
            };
            let Some(padding) = part.first().map(|row| row.map(null)) else { continue };
            let binds = shared.map(Bind::Int).into_iter().chain(part.iter().flatten().copied());
            match tx {
                Tx::Sqlite(tx) => {
                    let Some(text) = self.sqlite.get(at) else { continue };
                    let text = text.get_or_init(|| self.text(size, false));
                    // What is not bound is NULL on SQLite.
                    let rows = bound!(text, binds).fetch_all(&mut **tx).await?;
                    all.extend(rows.into_iter().map(Row::Sqlite));
                }
                Tx::Postgres(tx) => {
                    let Some(text) = self.postgres.get(at) else { continue };
                    let text = text.get_or_init(|| self.text(size, true));
                    let padded = binds.chain(std::iter::repeat_n(padding, size - part.len()).flatten());
                    let rows = bound!(text, padded).fetch_all(&mut **tx).await?;
                    all.extend(rows.into_iter().map(Row::Postgres));
                }
            }
        }
        Ok(all)
    }

    /// The text for so many rows. The placeholders are numbered for PostgreSQL alone: SQLite takes `$1` for a name, and
    /// looks every name up among all of them whenever it binds one.
    fn text(&self, size: usize, numbered: bool) -> Arc<str> {
        let mut text = String::with_capacity(self.template.len() + size * (N * 6 + 3));
        let mut places = 0;
        let mut place = |text: &mut String| {
            places += 1;
            if numbered {
                text.push('$');
                text.push_str(&places.to_string());
            } else {
                text.push('?');
            }
        };
        for letter in self.template.chars() {
            match letter {
                '?' => place(&mut text),
                '@' => (0..size * N).for_each(|n| {
                    text.push(if n % N == 0 { '(' } else { ',' });
                    place(&mut text);
                    if n % N == N - 1 {
                        text.push_str(if n + 1 == size * N { ")" } else { ")," });
                    }
                }),
                other => text.push(other),
            }
        }
        text.into()
    }
}

/// NULL in the type of a value: PostgreSQL asks for the type.
fn null(bind: Bind<'_>) -> Bind<'static> {
    match bind {
        Bind::Text(_) | Bind::MaybeText(_) => Bind::MaybeText(None),
        Bind::Int(_) | Bind::MaybeInt(_) => Bind::MaybeInt(None),
        Bind::Blob(_) | Bind::MaybeBlob(_) => Bind::MaybeBlob(None),
    }
}

#[test]
fn a_text_has_one_place_for_each_value() {
    let many: Many<2> = Many::new("a LIMIT ? FROM (VALUES @) AS v");
    assert_eq!(&*many.text(2, true), "a LIMIT $1 FROM (VALUES ($2,$3),($4,$5)) AS v");
    assert_eq!(&*many.text(1, false), "a LIMIT ? FROM (VALUES (?,?)) AS v");
}
