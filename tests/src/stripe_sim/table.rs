//! A table in memory: rows in order of creation, found by id, oldest thrown away when it is bounded.
use std::collections::{HashMap, VecDeque};

/// What every listed object has.
pub trait Row {
    /// Its id.
    fn id(&self) -> &str;
    /// Seconds since 1970, virtual.
    fn created(&self) -> i64;
}

/// Rows in order of creation.
pub struct Table<T> {
    rows: VecDeque<T>,
    positions: HashMap<String, usize>,
    /// How many rows were thrown away: a position counts from the very first row.
    evicted: usize,
    limit: usize,
}

impl<T: Row> Table<T> {
    /// A table that keeps everything.
    pub fn unbounded() -> Self {
        Self::bounded(usize::MAX)
    }

    /// A table that forgets the oldest row once it holds `limit`.
    pub fn bounded(limit: usize) -> Self {
        Self {
            rows: VecDeque::new(),
            positions: HashMap::new(),
            evicted: 0,
            limit,
        }
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: T) {
        if self.rows.len() >= self.limit
            && let Some(oldest) = self.rows.pop_front()
        {
            self.positions.remove(oldest.id());
            self.evicted += 1;
        }
        self.positions
            .insert(row.id().to_owned(), self.evicted + self.rows.len());
        self.rows.push_back(row);
    }

    /// Where a row stands, for [`Self::before`] and [`Self::after`].
    pub fn position(&self, id: &str) -> Option<usize> {
        self.positions.get(id).map(|position| position - self.evicted)
    }

    /// A row.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.rows.get(self.position(id)?)
    }

    /// A row to change.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        let position = self.position(id)?;
        self.rows.get_mut(position)
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.rows.iter()
    }

    /// Rows older than a position, newest first; all rows for `None`.
    pub fn before(&self, position: Option<usize>) -> impl Iterator<Item = &T> {
        self.rows.range(..position.unwrap_or(self.rows.len())).rev()
    }

    /// Rows newer than a position, oldest first.
    pub fn after(&self, position: usize) -> impl Iterator<Item = &T> {
        self.rows.range(position + 1..)
    }
}
