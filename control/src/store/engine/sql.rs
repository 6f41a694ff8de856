//! Statements put together from parts, where what callers ask for decides which parts there are. Values are bound,
//! never written into the text.

use sqlx::{
    AnyConnection, AssertSqlSafe,
    any::{Any, AnyArguments, AnyRow},
};

use crate::store::StoreResult;

/// A value to be bound.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// A text, or NULL.
    OptionalText(Option<String>),
    /// A number, or NULL.
    OptionalNumber(Option<i64>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// A statement in the making.
#[derive(Clone, Debug, Default)]
pub struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// One that begins with this text.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// Adds text.
    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a value.
    pub fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Adds a condition by which the columns, taken as one key, come after the values (`>`) or before them (`<`).
    pub fn keyset_after(&mut self, columns: &[(&str, Value)], comparison: &str) -> &mut Self {
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        self.push(" AND (").push(&names.join(", ")).push(") ").push(comparison).push(" (");
        for (at, (_, value)) in columns.iter().enumerate() {
            self.push(if at == 0 { "" } else { ", " }).bind(value.clone());
        }
        self.push(")")
    }

    /// Adds rows of values: `(…), (…)`.
    pub fn rows<const N: usize>(&mut self, rows: impl IntoIterator<Item = [Value; N]>) -> &mut Self {
        for (at, row) in rows.into_iter().enumerate() {
            self.push(if at == 0 { "(" } else { ", (" });
            for (at, value) in row.into_iter().enumerate() {
                self.push(if at == 0 { "" } else { ", " }).bind(value);
            }
            self.push(")");
        }
        self
    }

    fn query(self) -> sqlx::query::Query<'static, Any, AnyArguments> {
        let query = sqlx::query(AssertSqlSafe(self.text));
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
            Value::OptionalText(text) => query.bind(text),
            Value::OptionalNumber(number) => query.bind(number),
        })
    }

    /// Runs it for its rows.
    pub async fn fetch_all(self, db: &mut AnyConnection) -> StoreResult<Vec<AnyRow>> {
        Ok(self.query().fetch_all(db).await?)
    }

    /// Runs it.
    pub async fn execute(self, db: &mut AnyConnection) -> StoreResult<()> {
        self.query().execute(db).await?;
        Ok(())
    }
}

#[cfg(test)]
impl Sql {
    /// Returns SQLite's query plan, a line for each step; with `each_row`, also the steps for each row that it finds.
    pub async fn plan(mut self, db: &mut AnyConnection, each_row: bool) -> Vec<String> {
        use sqlx::Row as _;
        self.text.insert_str(0, "EXPLAIN QUERY PLAN ");
        let rows = self.fetch_all(db).await.unwrap();
        let steps = rows.iter().filter(|row| each_row || row.try_get::<i64, _>("parent").unwrap() == 0);
        steps.map(|row| row.try_get("detail").unwrap()).collect()
    }
}
