//! The end-to-end suite. Each test starts a broker of its own on the host that `WISP_HOST` names, so
//! tests neither share state nor depend on their order.

mod announced;
mod bounded_memory;
mod churn;
mod cli;
mod config;
mod connect;
mod flood;
mod keep_alive;
mod limits;
mod malformed;
mod malformed_cases;
mod matching;
mod payloads;
mod real_input;
mod restart;
mod stuck_receiver;
mod wills;
mod wisp_programs;
