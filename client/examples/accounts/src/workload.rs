//! The trial: workers that move money between random accounts, and know of each movement whether it was made.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use quorate_app::decider::{CommandError, Repository};
use quorate_app::decision::Decisions;
use quorate_client::Client;
use tokio::sync::watch;

use crate::account::{Account, AccountCommand, Refusal};
use crate::name::{AccountName, NoAccount};
use crate::transfer::Transfer;

/// The money in each account at the beginning.
pub const FIRST_DEPOSIT: i64 = 1_000;
/// The largest amount that a worker moves.
const MOVED_MAX: i64 = 200;
/// The longest time for one attempt.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Workers and their accounts. Between accounts of one tenant they make transfers, and payments between tenants.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The accounts, at least two.
    pub accounts: Vec<AccountName>,
    /// The number of workers.
    pub workers: u64,
    /// The name of this run, with which its command ids begin: another run makes other movements.
    pub run: String,
    /// The seed of the random choices.
    pub seed: u64,
    /// The time for the first attempt of a command; each repetition has twice as much.
    pub patience: Duration,
}

/// The outcomes that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The transfers that were made.
    pub transfers: Vec<String>,
    /// The number of payments that were sent.
    pub payments: usize,
    /// The number of commands that were refused.
    pub refused: usize,
    /// The number of attempts whose outcome was not known, so that the command was repeated.
    pub repeated: usize,
}

impl Tally {
    /// Returns the number of movements that were made.
    pub fn made(&self) -> usize {
        self.transfers.len() + self.payments
    }
}

impl Workload {
    /// Names so many accounts, without a tenant or shared among tenants.
    ///
    /// # Errors
    /// A tenant's name is none.
    pub fn accounts(
        count: usize,
        tenants: &[impl AsRef<str>],
    ) -> Result<Vec<AccountName>, NoAccount> {
        let name = |number: usize| match tenants.get(number % tenants.len().max(1)) {
            Some(tenant) => format!("{}/{number}", tenant.as_ref()),
            None => number.to_string(),
        };
        (0..count).map(|number| name(number).parse()).collect()
    }

    /// Opens the accounts that are not open yet, each with some money.
    ///
    /// # Errors
    /// The cluster refuses something.
    pub async fn open(&self, client: &Client) -> Result<()> {
        let accounts = Repository::<Account>::new(client.clone());
        for name in &self.accounts {
            let open = AccountCommand::Open { owner: name.to_string() };
            let deposit = AccountCommand::Deposit { amount: FIRST_DEPOSIT };
            for (id, command) in [("open", open), ("first-deposit", deposit)] {
                let handle = || accounts.handle(name.id(), &command).tenant(name.tenant());
                let handle = |patience| handle().command_id(id).deadline(patience).into_future();
                match self.until_known(handle, || ()).await {
                    Ok(_) | Err(CommandError::Refused(Refusal::OpenAlready)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Moves money until `stop` is true, and then until the outcome of each movement is known.
    ///
    /// # Errors
    /// A command ends otherwise than made or refused.
    pub async fn run(
        &self,
        client: &Client,
        tally: &watch::Sender<Tally>,
        stop: &watch::Receiver<bool>,
    ) -> Result<()> {
        let decisions = Decisions::new(client.clone());
        let accounts = Repository::<Account>::new(client.clone());
        let work = |worker| self.work(worker, &decisions, &accounts, tally, stop);
        try_join_all((0..self.workers).map(work)).await?;
        Ok(())
    }

    async fn work(
        &self,
        worker: u64,
        decisions: &Decisions,
        accounts: &Repository<Account>,
        tally: &watch::Sender<Tally>,
        stop: &watch::Receiver<bool>,
    ) -> Result<()> {
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(worker));
        let count_repeated = || tally.send_modify(|tally| tally.repeated += 1);
        for number in 0_u64.. {
            if *stop.borrow() {
                break;
            }
            let transfer = self.transfer(&mut random, format!("{}-{worker}-{number}", self.run));
            let (from, to, id) = (&transfer.from, &transfer.to, &transfer.id);
            let is_within = from.tenant() == to.tenant();
            let outcome = if is_within {
                let make = || decisions.make(&transfer).command_id(id).tenant(from.tenant());
                let make = |patience| make().deadline(patience).into_future();
                self.until_known(make, count_repeated).await.map(|_| ())
            } else {
                let pay = AccountCommand::Pay { to: to.stream(), amount: transfer.amount };
                let handle = || accounts.handle(from.id(), &pay).tenant(from.tenant());
                let handle = |patience| handle().command_id(id).deadline(patience).into_future();
                self.until_known(handle, count_repeated).await.map(|_| ())
            };
            match outcome {
                Ok(()) if is_within => tally.send_modify(|tally| tally.transfers.push(transfer.id)),
                Ok(()) => tally.send_modify(|tally| tally.payments += 1),
                Err(CommandError::Refused(_)) => tally.send_modify(|tally| tally.refused += 1),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Chooses two accounts and an amount.
    fn transfer(&self, random: &mut fastrand::Rng, id: String) -> Transfer {
        let count = self.accounts.len();
        let from = random.usize(..count);
        let to = (from + random.usize(1..count)) % count;
        let (from, to) = (self.accounts[from].clone(), self.accounts[to].clone());
        Transfer { id, from, to, amount: random.i64(1..=MOVED_MAX) }
    }

    /// Repeats a command, with the same id, until its outcome is known.
    ///
    /// A command that is refused when it is repeated was not carried out before either. The first attempt decided on
    /// another state, so something happened in the account since, and then the condition of its append fails.
    async fn until_known<T, E, F>(
        &self,
        mut command: impl FnMut(Duration) -> F,
        note_repetition: impl Fn(),
    ) -> Result<T, CommandError<E>>
    where
        E: std::error::Error + 'static,
        F: Future<Output = Result<T, CommandError<E>>>,
    {
        let mut patience = self.patience;
        loop {
            match command(patience).await {
                Err(error) if error.is_transient() => note_repetition(),
                outcome => return outcome,
            }
            patience = (patience * 2).min(PATIENCE_MAX);
        }
    }
}
