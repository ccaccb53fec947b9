//! Tests of the command, run as a process.

#![allow(clippy::unwrap_used)] // a failing test may stop
mod bad_input;
mod command;
mod convert;
mod hub;
mod published;
mod work;
mod workshop;
