//! The auditor: it follows all events of all accounts, and finds money that was made or lost.

mod books;

use quorate_client::{Client, Message, Position, Problem, Query, Subscription};

use crate::account::CATEGORY;

pub use books::{Books, Fault};

/// Follows all accounts, and checks the books at every position.
#[derive(Debug)]
pub struct Auditor {
    subscription: Subscription,
    books: Books,
    /// The position up to which everything was checked.
    position: Position,
}

/// The end of an audit.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The books are wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The events cannot be read.
    #[error(transparent)]
    Store(#[from] Problem),
}

impl Auditor {
    /// Begins at the beginning of the log.
    pub fn new(client: &Client) -> Auditor {
        let subscription = client.read(Query::category(CATEGORY)).follow();
        Auditor { subscription, books: Books::default(), position: Position::ZERO }
    }

    /// Checks until everything up to a position is checked, and returns the books.
    ///
    /// # Errors
    /// The books are wrong, or the events cannot be read.
    pub async fn until(&mut self, position: Position) -> Result<&Books, AuditError> {
        while self.position < position {
            self.next().await?;
        }
        Ok(&self.books)
    }

    /// Checks until all events that exist now are checked, and returns the books.
    ///
    /// # Errors
    /// The books are wrong, or the events cannot be read.
    pub async fn until_caught_up(&mut self) -> Result<&Books, AuditError> {
        while !self.next().await? {}
        Ok(&self.books)
    }

    /// Returns the books as of the last event that was checked.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Returns the position up to which everything was checked.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Checks the next event. Returns true if there is no further one yet. Cancelling the future loses nothing.
    ///
    /// # Errors
    /// The books are wrong, or the events cannot be read.
    pub async fn next(&mut self) -> Result<bool, AuditError> {
        let message = self.subscription.try_next().await?;
        match message {
            Some(Message::Event(event)) => {
                self.books.enter(&event)?;
                self.position = event.position;
                Ok(false)
            }
            Some(Message::CaughtUp(cursor) | Message::Progress(cursor)) => {
                self.books.check_end()?;
                self.position = cursor.position;
                Ok(true)
            }
            Some(Message::FellBehind(_)) => Ok(false),
            None => Ok(true),
        }
    }
}
