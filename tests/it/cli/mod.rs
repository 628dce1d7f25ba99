//! The command line, through the real binary: what people read as snapshots, what scripts read as assertions.

mod accounts;
mod bad_input;
mod crash;
mod dev;
mod directories;
mod doctor;
mod flow;
mod follow;
mod grants;
mod help;
mod languages;
mod limits;
mod new;
mod next;
mod run;
mod secret;
mod table_of_codes;
