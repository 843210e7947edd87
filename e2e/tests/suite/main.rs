//! The end-to-end suite. Each test starts a broker of its own on the host that `WISP_HOST` names, so
//! tests neither share state nor depend on their order.

mod bounded_memory;
mod churn;
mod cli;
mod config;
mod connect;
mod flood;
mod flow_control;
mod keep_alive;
mod limits;
mod malformed;
mod malformed_cases;
mod matching;
mod message_properties;
mod packet_size;
mod payloads;
mod qos;
mod queues;
mod real_input;
mod reasons;
mod redelivery;
mod restart;
mod retained;
mod sessions;
mod shared;
mod shared_hammer;
mod stuck_receiver;
mod subscriptions;
mod takeover;
mod takeover_hammer;
mod topic_alias;
mod will_options;
mod wills;
mod wisp_programs;
