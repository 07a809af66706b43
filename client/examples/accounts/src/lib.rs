//! Accounts with deposits, withdrawals and transfers, in which no money is ever made or lost.
//!
//! Read the modules in this order: [`event`] (what happens), [`account`] (the rules of one account), [`transfer`] (a
//! rule over two accounts, in one transaction), [`payment`] (the same between tenants, as a process with compensation),
//! [`models`] (balances to query), [`publish`] (events for others), [`audit`] (the proof), [`workload`] (the trial).

pub mod account;
pub mod audit;
pub mod event;
pub mod models;
pub mod name;
pub mod payment;
pub mod publish;
pub mod transfer;
pub mod workload;
