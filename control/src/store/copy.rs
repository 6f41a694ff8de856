//! Copying a whole database to an empty one, of the same engine or the other.
//!
//! The rows are those of one moment, and the target gets them in one transaction: it has all of them or stays empty. Every row is
//! read back from the target and compared before that commits.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::TryStreamExt;
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Column as _, Database, Row as _, ValueRef as _,
    any::{AnyRow, AnyTypeInfoKind},
};

use super::{
    Store, StoreError, StoreResult, StoreSettings,
    engine::{
        settings::Engine,
        sql::{Sql, Value},
    },
};
use crate::clock::Clock;

/// Rows written by one statement; with the widest table far below the engines' bounds on bound values.
const ROWS_AT_ONCE: usize = 200;
/// The tables of which every database that a server has used has rows.
const USED: [&str; 3] = ["groups", "users", "tokens"];
/// The table whose row the target has already, and that says of which version the target is.
const VERSION: &str = "installation";

/// A table that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
}

/// Copies every table of `from` to `to`, which must be a database without content; `copied` hears of each table. Returns the
/// tables.
pub async fn copy_database(
    from: &StoreSettings,
    to: &StoreSettings,
    now_ms: i64,
    mut copied: impl FnMut(&CopiedTable),
) -> Result<Vec<CopiedTable>, CopyError> {
    if from.url == to.url {
        return Err(CopyError::Same);
    }
    must_exist(from)?;
    let clock = Clock::standing_at(now_ms);
    let source = Store::open(from, &clock).await.map_err(CopyError::From)?;
    let target = Store::open(to, &clock).await.map_err(CopyError::To)?;
    let mut read = source.read().await.map_err(CopyError::From)?;
    let mut write = target.write().await.map_err(CopyError::To)?;
    let names: Vec<_> = tables().into_iter().filter(|name| name != VERSION).collect();
    for name in USED {
        if digest_of(&mut write, name).await.map_err(CopyError::To)?.rows > 0 {
            return Err(CopyError::NotEmpty { table: name.to_owned() });
        }
    }
    // Opening it has made the rows of a first revision, and the like.
    for name in names.iter().rev() {
        Sql::new(&format!("DELETE FROM {name}")).execute(&mut write).await.map_err(CopyError::To)?;
    }
    let mut tables = Vec::new();
    for name in names {
        let sent = copy_table(&mut read, &mut write, &name).await?;
        if digest_of(&mut write, &name).await.map_err(CopyError::To)? != sent {
            return Err(CopyError::Differs { table: name });
        }
        let table = CopiedTable { name, rows: sent.rows };
        copied(&table);
        tables.push(table);
    }
    write.commit().await.map_err(CopyError::To)?;
    Ok(tables)
}

/// A database could not be copied. The target is as it was before, but for its schema.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Source and target are the same.
    #[error("--from and --to are the same database")]
    Same,
    /// The source does not exist.
    #[error("--from: {0} does not exist")]
    Missing(String),
    /// The source cannot be read.
    #[error("--from: {0}")]
    From(#[source] StoreError),
    /// The target cannot be written.
    #[error("--to: {0}")]
    To(#[source] StoreError),
    /// The target has content.
    #[error("--to: the database has rows in {table}; name an empty one, which no server has used")]
    NotEmpty {
        /// The first table that has rows.
        table: String,
    },
    /// The target holds other rows than were sent.
    #[error("--to: the rows of {table} differ from the source's; nothing was kept")]
    Differs {
        /// The table.
        table: String,
    },
}

impl CopyError {
    /// Returns whether other arguments would help: exit code 2.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Same | Self::Missing(_) | Self::From(StoreError::Url(_)) | Self::To(StoreError::Url(_)))
    }
}

/// Fails if the source is a SQLite file that does not exist: opening it would create it.
fn must_exist(from: &StoreSettings) -> Result<(), CopyError> {
    let (engine, _) = from.engine().map_err(CopyError::From)?;
    let path = from.url.strip_prefix("sqlite://").unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if engine == Engine::Sqlite && !std::path::Path::new(path).exists() {
        return Err(CopyError::Missing(path.to_owned()));
    }
    Ok(())
}

/// Returns the tables in the order of their creation, so that a row comes after those that it refers to.
fn tables() -> Vec<String> {
    let migrator = sqlx::migrate!("./migrations");
    let statements = migrator.iter().flat_map(|migration| migration.sql.as_str().lines());
    let names = statements.filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The number of rows, and a checksum of them that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rows {
    rows: u64,
    checksum: u64,
}

impl Rows {
    fn add(&mut self, row: &[Cell]) {
        let mut hasher = DefaultHasher::new();
        row.iter().for_each(|(name, value)| (name, value).hash(&mut hasher));
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(hasher.finish());
    }
}

/// A column's name and its value.
type Cell = (String, Stored);

/// A value of the types that the schema has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stored {
    Text(Option<String>),
    Number(Option<i64>),
}

impl From<Stored> for Value {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Text(text) => Self::OptionalText(text),
            Stored::Number(number) => Self::OptionalNumber(number),
        }
    }
}

async fn copy_table(read: &mut AnyConnection, write: &mut AnyConnection, table: &str) -> Result<Rows, CopyError> {
    let mut sent = Rows::default();
    let mut batch = Vec::with_capacity(ROWS_AT_ONCE);
    let mut rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch(read);
    while let Some(row) = rows.try_next().await.map_err(|error| CopyError::From(error.into()))? {
        let row = cells(&row).map_err(CopyError::From)?;
        sent.add(&row);
        batch.push(row);
        if batch.len() == ROWS_AT_ONCE {
            insert(write, table, std::mem::take(&mut batch)).await.map_err(CopyError::To)?;
        }
    }
    insert(write, table, batch).await.map_err(CopyError::To)?;
    Ok(sent)
}

async fn insert(write: &mut AnyConnection, table: &str, rows: Vec<Vec<Cell>>) -> StoreResult<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let columns: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    let mut sql = Sql::new(&format!("INSERT INTO {table} ({}) VALUES ", columns.join(", ")));
    for (at, row) in rows.into_iter().enumerate() {
        sql.push(if at == 0 { "(" } else { ", (" });
        for (at, (_, value)) in row.into_iter().enumerate() {
            sql.push(if at == 0 { "" } else { ", " }).bind(value);
        }
        sql.push(")");
    }
    sql.execute(write).await
}

async fn digest_of(db: &mut AnyConnection, table: &str) -> StoreResult<Rows> {
    let mut found = Rows::default();
    let mut rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch(db);
    while let Some(row) = rows.try_next().await? {
        found.add(&cells(&row)?);
    }
    Ok(found)
}

/// Returns the row's values, ordered by the names of their columns: the engines may list columns in another order.
fn cells(row: &AnyRow) -> StoreResult<Vec<Cell>> {
    let cell = |column: &<Any as Database>::Column| -> StoreResult<Cell> {
        let (at, name) = (column.ordinal(), column.name().to_owned());
        let raw = row.try_get_raw(at)?;
        let kind = if raw.is_null() { column.type_info().kind() } else { raw.type_info().kind() };
        let stored = match kind {
            AnyTypeInfoKind::Text => Stored::Text(row.try_get(at)?),
            AnyTypeInfoKind::BigInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::SmallInt => {
                Stored::Number(row.try_get(at)?)
            }
            other => {
                return Err(StoreError::Corrupt { what: "type of column", value: format!("{name}: {other:?}") });
            }
        };
        Ok((name, stored))
    };
    let mut cells = row.columns().iter().map(cell).collect::<StoreResult<Vec<_>>>()?;
    cells.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(cells)
}
