//! Tests of the store through its public interface, over a disk whose power can be cut.

mod continued;
mod damage;
mod files;
mod group_model;
mod group_words;
mod groups;
mod install;
mod model;
mod names;
mod power;
mod queries;
mod random;
mod repair;
mod scan;
mod scavenge;
mod script;
mod scrub;
mod settings;
mod support;
mod twins;
mod verify;
