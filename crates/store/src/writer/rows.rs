//! One statement over many rows. The rows are padded with NULLs to a few sizes, so that a group takes one round trip
//! per statement and each connection prepares a bounded number of texts.

use std::sync::{Arc, OnceLock};

use sqlx::AssertSqlSafe;

use crate::StoreError;
use crate::engine::{Bind, Pool, Row, Tx};

/// Numbers of rows a text is made for; the last is the largest group. Eight sizes of eight statements fit the hundred
/// prepared statements that a connection keeps.
const SIZES: [usize; 8] = [1, 4, 8, 16, 32, 64, 128, SIZE_MAX];
const SIZE_MAX: usize = 256;

/// A statement over rows of `N` columns, `column1` never null: `@` stands for the rows of its one `VALUES`, where a row
/// whose `column1` is NULL must be without effect; a `?` before it for a value that all rows share.
pub(crate) struct Many<const N: usize> {
    template: &'static str,
    texts: [Texts; SIZES.len()],
}

/// One size's text with `?` and with `$1`, made when it is first needed.
struct Texts {
    plain: OnceLock<Arc<str>>,
    numbered: OnceLock<Arc<str>>,
}

/// Some of the rows with the text they fit in.
struct Part<'a, const N: usize> {
    many: &'a Many<N>,
    texts: &'a Texts,
    size: usize,
    rows: &'a [[Bind<'a>; N]],
}

impl<'a, const N: usize> Part<'a, N> {
    fn text(&self, numbered: bool) -> &'a Arc<str> {
        let text = if numbered { &self.texts.numbered } else { &self.texts.plain };
        text.get_or_init(|| self.many.text(self.size, numbered))
    }

    /// The values; what is not bound is NULL on SQLite.
    fn binds(&self, shared: Option<i64>) -> impl Iterator<Item = Bind<'a>> {
        shared.map(Bind::Int).into_iter().chain(self.rows.iter().flatten().copied())
    }

    /// The values and the NULLs that fill the text.
    fn padded(&self, shared: Option<i64>) -> impl Iterator<Item = Bind<'a>> {
        let nulls = self.rows.first().into_iter().flatten().map(|bind| null(*bind)).cycle();
        self.binds(shared).chain(nulls.take((self.size - self.rows.len()) * N))
    }
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
    pub(crate) const fn new(template: &'static str) -> Self {
        Self { template, texts: [const { Texts { plain: OnceLock::new(), numbered: OnceLock::new() } }; SIZES.len()] }
    }

    /// What the statement returns for these rows; nothing is asked, when there are none.
    pub(crate) async fn rows(
        &self,
        tx: &mut Tx,
        shared: Option<i64>,
        rows: &[[Bind<'_>; N]],
    ) -> Result<Vec<Row>, StoreError> {
        let mut all = Vec::new();
        for part in self.parts(rows) {
            match tx {
                Tx::Sqlite(tx) => {
                    let rows = bound!(part.text(false), part.binds(shared)).fetch_all(&mut **tx).await?;
                    all.extend(rows.into_iter().map(Row::Sqlite));
                }
                Tx::Postgres(tx) => {
                    let rows = bound!(part.text(true), part.padded(shared)).fetch_all(&mut **tx).await?;
                    all.extend(rows.into_iter().map(Row::Postgres));
                }
            }
        }
        Ok(all)
    }

    /// What a query that changes nothing returns for these rows, outside of any transaction.
    pub(crate) async fn read(&self, pool: &Pool, rows: &[[Bind<'_>; N]]) -> Result<Vec<Row>, StoreError> {
        let mut all = Vec::new();
        for part in self.parts(rows) {
            match pool {
                Pool::Sqlite { readers, .. } => {
                    let rows = bound!(part.text(false), part.binds(None)).fetch_all(readers).await?;
                    all.extend(rows.into_iter().map(Row::Sqlite));
                }
                Pool::Postgres(pool) => {
                    let rows = bound!(part.text(true), part.padded(None)).fetch_all(pool).await?;
                    all.extend(rows.into_iter().map(Row::Postgres));
                }
            }
        }
        Ok(all)
    }

    /// How many rows the statement touched. Cheaper than [`Many::rows`]: each row that SQLite's thread hands over wakes
    /// this one.
    pub(crate) async fn run(&self, tx: &mut Tx, rows: &[[Bind<'_>; N]]) -> Result<u64, StoreError> {
        let mut touched = 0;
        for part in self.parts(rows) {
            touched += match tx {
                Tx::Sqlite(tx) => bound!(part.text(false), part.binds(None)).execute(&mut **tx).await?.rows_affected(),
                Tx::Postgres(tx) => {
                    bound!(part.text(true), part.padded(None)).execute(&mut **tx).await?.rows_affected()
                }
            };
        }
        Ok(touched)
    }

    fn parts<'a>(&'a self, rows: &'a [[Bind<'a>; N]]) -> impl Iterator<Item = Part<'a, N>> {
        rows.chunks(SIZE_MAX).filter_map(|rows| {
            let (size, texts) = SIZES.into_iter().zip(&self.texts).find(|(size, _)| *size >= rows.len())?;
            Some(Part { many: self, texts, size, rows })
        })
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
