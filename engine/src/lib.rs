//! The queue-per-topic core of the Wisp broker, without I/O.
