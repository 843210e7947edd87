//! The end-to-end suite: real clients against the broker on every host.
