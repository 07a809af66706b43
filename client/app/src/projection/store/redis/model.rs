//! A read model in Redis as a handler changes it: its commands are collected, and one script runs them.

use std::time::Duration;

use redis::{Cmd, ScriptInvocation};

use super::super::{Record, Side, Slot, StoreError};

/// The maximum number of arguments of one command: Lua passes them on its stack.
const COMMAND_ARGUMENTS_MAX: usize = 4_000;
/// The maximum number of arguments of all commands of a transaction: Redis accepts a million.
const TRANSACTION_ARGUMENTS_MAX: usize = 500_000;

/// A model in Redis within a transaction: commands are collected, and run at the commit.
///
/// ```
/// use quorate_app::projection::{HandlerError, RedisModel};
/// use quorate_app::redis;
/// use quorate_client::RecordedEvent;
///
/// fn paid(model: &mut RedisModel, event: &RecordedEvent) -> Result<(), HandlerError> {
///     let (totals, amount) = (model.key("totals"), event.json::<i64>()?);
///     model.run(redis::cmd("HINCRBY").arg(totals).arg(event.stream.as_str()).arg(amount).take());
///     Ok(())
/// }
/// # let _ = paid;
/// ```
pub struct RedisModel {
    pub(super) slot: Slot,
    pub(super) prefix: String,
    pub(super) commit: Commit,
    /// The commands of each event, with its position.
    pub(super) events: Vec<(u64, Vec<Cmd>)>,
}

opaque_debug!(RedisModel);

/// The change that is committed.
pub(super) enum Commit {
    Create { record: Record, owner: String, lease: Duration },
    Step { generation: u64, partition: u32, owner: String, from: u64, to: u64 },
    Unpark { generation: u64, position: u64 },
}

impl RedisModel {
    /// Returns the name of a key of this model: `name` with the model's prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the prefix of this model's keys.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns whether this is the live or the rebuilt model.
    pub fn side(&self) -> Side {
        self.slot.side
    }

    /// Adds a command of at most 4,000 arguments, as in `redis::cmd("HINCRBY").arg(model.key("totals"))…`. Its keys
    /// must be the model's own.
    pub fn run(&mut self, command: Cmd) {
        match self.events.last_mut() {
            Some((_, commands)) => commands.push(command),
            None => self.events.push((0, vec![command])),
        }
    }

    /// Adds the commands to the script's arguments: for each event its position and commands, with their arguments.
    pub(super) fn put_commands(&self, script: &mut ScriptInvocation<'_>) -> Result<(), StoreError> {
        let mut total = 0;
        script.arg(self.events.len());
        for (position, commands) in &self.events {
            script.arg(*position).arg(commands.len());
            for command in commands {
                let arguments = command.args_iter();
                total += arguments.len() + 1;
                if arguments.len() > COMMAND_ARGUMENTS_MAX || total > TRANSACTION_ARGUMENTS_MAX {
                    let why = format!(
                        "too many arguments: at most {COMMAND_ARGUMENTS_MAX} for a command and \
                         {TRANSACTION_ARGUMENTS_MAX} for a transaction"
                    );
                    return Err(StoreError::Refused(why.into()));
                }
                script.arg(arguments.len());
                for argument in arguments {
                    match argument {
                        redis::Arg::Simple(bytes) => script.arg(bytes),
                        // The other kind of argument is a cursor that was not moved yet.
                        _ => script.arg(0),
                    };
                }
            }
        }
        Ok(())
    }
}
