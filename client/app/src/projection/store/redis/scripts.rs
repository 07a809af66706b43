//! The scripts that Redis runs as one step, in its own language (Lua 5.1).
//!
//! `KEYS[1]` is the hash with the record of a model, `KEYS[2]` the hash of its parked events.

use redis::Script;

/// The time of the server, in milliseconds; as text, because Lua writes large numbers with an exponent.
macro_rules! now {
    () => {
        "local function later(milliseconds)
           local time = redis.call('TIME')
           return time[1] * 1000 + math.floor(time[2] / 1000) + milliseconds
         end
         local function text(number) return string.format('%.0f', number) end
        "
    };
}

/// Runs the commands in `ARGV` from `at` on. Returns the position of the last event whose commands were all run,
/// and if one failed its event, its number and the error.
macro_rules! run {
    () => {
        "local function run(at)
           local events = tonumber(ARGV[at])
           local done = nil
           for _ = 1, events do
             local position, commands = ARGV[at + 1], tonumber(ARGV[at + 2])
             at = at + 2
             for command = 1, commands do
               local count = tonumber(ARGV[at + 1])
               local arguments = {}
               for one = 1, count do arguments[one] = ARGV[at + 1 + one] end
               at = at + 1 + count
               local answer = redis.pcall(unpack(arguments))
               if type(answer) == 'table' and answer.err then
                 return done, {position, tostring(command), answer.err}
               end
             end
             done = position
           end
           return done, nil
         end
        "
    };
}

pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) renew: Script,
    pub(super) release: Script,
    pub(super) repartition: Script,
    pub(super) create: Script,
    pub(super) step: Script,
    pub(super) unpark: Script,
    pub(super) swap: Script,
}

impl Default for Scripts {
    fn default() -> Scripts {
        Scripts {
            claim: Script::new(CLAIM),
            renew: Script::new(RENEW),
            release: Script::new(RELEASE),
            repartition: Script::new(REPARTITION),
            create: Script::new(CREATE),
            step: Script::new(STEP),
            unpark: Script::new(UNPARK),
            swap: Script::new(SWAP),
        }
    }
}

/// Arguments: owner, lease. Returns nothing if there is no model, two words if it has another owner, else three.
const CLAIM: &str = concat!(
    now!(),
    "if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
     local owner = redis.call('HGET', KEYS[1], 'owner')
     local leased_until = redis.call('HGET', KEYS[1], 'leased_until')
     if owner ~= '' and owner ~= ARGV[1] and tonumber(leased_until) > later(0) then
       return {owner, leased_until}
     end
     redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'leased_until', text(later(ARGV[2])))
     return {'it', 'is', 'yours'}"
);

/// Arguments: owner, lease.
const RENEW: &str = concat!(
    now!(),
    "if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
     redis.call('HSET', KEYS[1], 'leased_until', text(later(ARGV[2])))
     return 1"
);

/// Argument: owner.
const RELEASE: &str = "if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then
       redis.call('HSET', KEYS[1], 'owner', '')
     end";

/// Arguments: owner, partitioning, partitions, position.
const REPARTITION: &str = "if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
     local before = tonumber(redis.call('HGET', KEYS[1], 'partitions'))
     for partition = 0, before - 1 do
       if redis.call('HGET', KEYS[1], 'b' .. partition) ~= ARGV[4] then return 0 end
     end
     for partition = 0, before - 1 do redis.call('HDEL', KEYS[1], 'b' .. partition) end
     for partition = 0, tonumber(ARGV[3]) - 1 do
       redis.call('HSET', KEYS[1], 'b' .. partition, ARGV[4])
     end
     redis.call('HSET', KEYS[1], 'partitioning', ARGV[2], 'partitions', ARGV[3])
     return 1";

/// Arguments: definition, partitioning, generation, partitions, position, owner, lease, commands.
const CREATE: &str = concat!(
    now!(),
    run!(),
    "if redis.call('EXISTS', KEYS[1]) == 1 then return {'moved'} end
     local _, failed = run(8)
     if failed then return failed end
     redis.call('HSET', KEYS[1], 'definition', ARGV[1], 'partitioning', ARGV[2], 'generation', ARGV[3],
       'partitions', ARGV[4], 'owner', ARGV[6], 'leased_until', text(later(ARGV[7])))
     for partition = 0, tonumber(ARGV[4]) - 1 do
       redis.call('HSET', KEYS[1], 'b' .. partition, ARGV[5])
     end
     return {}"
);

/// Arguments: generation, field of the bookmark, owner, from, to, commands. The effects before a failed command
/// stay, and the bookmark is moved past the events that were run whole.
const STEP: &str = concat!(
    run!(),
    "local found = redis.call('HMGET', KEYS[1], 'generation', 'owner', ARGV[2])
     if found[1] ~= ARGV[1] or found[2] ~= ARGV[3] or found[3] ~= ARGV[4] then return {'moved'} end
     local done, failed = run(6)
     if failed then
       if done then redis.call('HSET', KEYS[1], ARGV[2], done) end
       return failed
     end
     redis.call('HSET', KEYS[1], ARGV[2], ARGV[5])
     return {}"
);

/// Arguments: generation, position, commands.
const UNPARK: &str = concat!(
    run!(),
    "if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return {'moved'} end
     if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return {'moved'} end
     local _, failed = run(3)
     if failed then return failed end
     redis.call('HDEL', KEYS[2], ARGV[2])
     return {}"
);

/// Arguments: generation of the rebuilt model, that of the live one (0 = there is none), and the live one's
/// bookmarks. `KEYS[3]` and `KEYS[4]` are the rebuilt model's.
const SWAP: &str = "if redis.call('HGET', KEYS[3], 'generation') ~= ARGV[1] then return 0 end
     local live = redis.call('HGET', KEYS[1], 'generation')
     if (live or '0') ~= ARGV[2] then return 0 end
     if live then
       if tonumber(redis.call('HGET', KEYS[1], 'partitions')) ~= #ARGV - 2 then return 0 end
       for partition = 0, #ARGV - 3 do
         if redis.call('HGET', KEYS[1], 'b' .. partition) ~= ARGV[partition + 3] then return 0 end
       end
     end
     redis.call('RENAME', KEYS[3], KEYS[1])
     redis.call('HSET', KEYS[1], 'owner', '')
     redis.call('DEL', KEYS[2])
     if redis.call('EXISTS', KEYS[4]) == 1 then redis.call('RENAME', KEYS[4], KEYS[2]) end
     return 1";
